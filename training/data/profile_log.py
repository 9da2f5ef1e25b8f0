"""What was on file of customers, by the time at which it became known."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from services.engine.playbook import values
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.values import Value
from training.data.families import Families
from training.data.ports import ProfileReader, Recorded

_MICROSECOND: Final = timedelta(microseconds=1)


class ProfileLog:
    """Attributes of customers as the profile service answers them, over all members."""

    def __init__(
        self, reader: ProfileReader, families: Families, customers: Iterable[str], playbook: Playbook
    ) -> None:
        """Read what became known of the customers.

        Raises:
            Refused: the store cannot be read.
        """
        self._families = families
        self._declared = playbook.profile.attributes
        self._known: dict[str, dict[str, list[Recorded]]] = {}
        members = [member for customer_id in customers for member in families.members(customer_id)]
        for one in reader.recorded(members):
            known = self._known.setdefault(families.root(one.customer_id), {})
            known.setdefault(one.name, []).append(one)
        for root, known in self._known.items():
            ranks = {member: -rank for rank, member in enumerate(families.members(root))}
            for found in known.values():
                # Of values of one time the last is taken.
                found.sort(key=lambda one: (one.record_time, ranks[one.customer_id]))

    def as_of(self, customer_id: str, time: int) -> dict[str, Value]:
        """Return the attributes as of ``time``, in microseconds: recorded before, and not too old then."""
        found = {}
        for name, known in self._known.get(self._families.root(customer_id), {}).items():
            index = bisect_left(known, time, key=lambda one: one.record_time)
            if index == 0 or (newest := known[index - 1]).value is None:
                continue
            if (declared := self._declared.get(name)) is None:
                continue
            if declared.max_age and time >= newest.record_time + declared.max_age // _MICROSECOND:
                continue
            try:
                found[name] = values.parse(declared, newest.value)
            except ValueError:
                # Recorded under an older declaration: missing, as it is to the gateway.
                continue
        return found
