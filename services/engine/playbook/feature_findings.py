"""What is idle in features: ages that no value reaches, defaults that stand in for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from services.engine.lengths import exact
from services.engine.playbook import kinds
from services.engine.playbook.findings import Finding
from services.engine.playbook.playbook import Playbook

_NEVER_MISSING: Final = (kinds.Count, kinds.Sum, kinds.Rate, kinds.Distinct, kinds.Decayed)


def idle_feature_keys(playbook: Playbook) -> Iterator[Finding]:
    """Return the problems of what features declare for values that are too old or missing."""
    for name, definition in playbook.features.items():
        if not isinstance(definition, kinds.EventDefinition):
            continue
        window, max_age = definition.window, definition.max_age
        is_bound = max_age is not None and (window is None or max_age <= window)
        if max_age is not None and window is not None and not is_bound:
            why = f"can never bind: no event of its window is older than {exact(window)}"
            yield _problem(name, "max_age", why)
        if definition.default is not None and isinstance(definition, _NEVER_MISSING) and not is_bound:
            yield _problem(name, "default", f"never stands in: a {definition.kind} is never missing")


def _problem(name: str, key: str, why: str) -> Finding:
    message = f'feature "{name}": {key} {why}'
    return Finding(file="features.yaml", path=("features", name, key), message=message, is_problem=True)
