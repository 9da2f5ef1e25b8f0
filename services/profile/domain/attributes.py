"""Values of attributes as readers see them, and for how long."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple

from services.engine.playbook.schema.attributes import ProfileAttribute
from services.engine.playbook.values import Value

_MICROSECOND: Final = timedelta(microseconds=1)
_NEVER: Final = 2**63 - 1


class Attribute(NamedTuple):
    """A value, since when it was known, and where it comes from."""

    value: Value
    record_time: int
    source: str


def end_of(declared: ProfileAttribute | None, record_time: int) -> int:
    """Return the first moment at which a value counts no more.

    ``declared`` is None for an attribute that the playbook does not know any more: it has no end.
    """
    if declared is None or declared.max_age is None:
        return _NEVER
    return record_time + declared.max_age // _MICROSECOND
