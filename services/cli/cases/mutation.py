"""Deletes and negates every rule in turn, to see whether a case notices."""

from __future__ import annotations

import copy
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.cli.cases.comparing import differences
from services.cli.cases.pipeline import Stores, opened_gateways
from services.cli.cases.running import Outcome, Refused, decide
from services.cli.cases.situations import Case
from services.engine.playbook import source
from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import FILES, load
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.rules import SECTIONS

_POLICIES: Final = "policies.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One change of one rule; ``policies`` is what the file then says, ``line`` where the rule stands."""

    rule: str
    change: str
    line: int
    policies: Mapping[str, Any]

    def __str__(self) -> str:
        return f'{_POLICIES}:{self.line}: no case notices that "{self.rule}" is {self.change}'


def mutations(folder: Path) -> Iterator[Mutation]:
    """Yield for each rule its deletion and, where it has a condition, its negation."""
    document = source.read(folder / _POLICIES, _POLICIES)
    for section in SECTIONS:
        for index, rule in enumerate(document.data.get(section) or ()):
            line = document.line((section, index))
            deleted = copy.deepcopy(document.data)
            del deleted[section][index]
            yield Mutation(rule=rule["name"], change="deleted", line=line, policies=deleted)
            if rule.get("when") is not None:
                negated = copy.deepcopy(document.data)
                negated[section][index]["when"] = f"!({rule['when']})"
                yield Mutation(rule=rule["name"], change="negated", line=line, policies=negated)


async def unnoticed(
    changes: Iterable[Mutation], folder: Path, stores: Stores, outcomes: Sequence[Outcome], work: Path
) -> AsyncIterator[Mutation]:
    """Yield the mutations of the playbook in ``folder`` that no case notices.

    ``outcomes`` are those of all cases without a mutation, whose worlds ``stores`` hold; ``work`` is a
    folder to work in, apart from theirs. What does not load counts as noticed: it could not go live.
    """
    noticed: Counter[int] = Counter()
    copied = _copied(folder, work / "playbook")
    for number, mutation in enumerate(changes):
        cases = _by_promise(mutation.rule, outcomes, noticed)
        try:
            playbook = _mutant(copied, mutation)
        except PlaybookError:
            continue
        if (case := await _noticing(cases, playbook, stores, work / str(number))) is None:
            yield mutation
        else:
            noticed[case.number] += 1


def _by_promise(rule: str, outcomes: Sequence[Outcome], noticed: Mapping[int, int]) -> list[Case]:
    """Put cases first that name a rule, then those in which it has a part, then those that noticed most."""

    def promise(outcome: Outcome) -> tuple[bool, bool, int]:
        case = outcome.case
        names = {removal.rule for removal in case.expect.removed.values()}
        return rule not in names, rule not in _involved(outcome), -noticed[case.number]

    return [outcome.case for outcome in sorted(outcomes, key=promise)]


async def _noticing(cases: Sequence[Case], playbook: Playbook, stores: Stores, home: Path) -> Case | None:
    """Return the first case that another playbook fails."""
    async with opened_gateways(stores, playbook, home) as gateways:
        for case in cases:
            try:
                if differences(await decide(case, await gateways.of(case)), stores.folder):
                    return case
            except Refused:
                return case
    return None


def _involved(outcome: Outcome) -> frozenset[str]:
    """Return the names of the rules that had a part in an answer."""
    names: set[str] = set()
    rules = outcome.gateway.playbook.rules
    for trace in outcome.response.explanation.candidates:
        names |= {trace.removed_rule, *trace.moved_by, *(factor.name for factor in trace.factors)}
    for answered in outcome.response.actions:
        action = outcome.gateway.playbook.actions[answered.action_id]
        treatment = action.treatments[answered.treatment_id]
        about = rules.concerning(answered.action_id, action, answered.treatment_id, treatment)
        names |= {rule.rule.name for rule in (*about.shared, *about.own, *about.others)}
    return frozenset(names)


def _copied(folder: Path, to: Path) -> Path:
    to.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(folder / name, to / name)
    return to


def _mutant(copied: Path, mutation: Mutation) -> Playbook:
    # YAML 1.2 contains JSON.
    (copied / _POLICIES).write_text(json.dumps(mutation.policies), encoding="utf-8")
    return load(copied)
