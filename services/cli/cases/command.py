"""``tact playbook test``: runs the cases of playbooks and says what is not as expected."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from services.cli.cases.comparing import differences
from services.cli.cases.mutation import mutations, unnoticed
from services.cli.cases.pipeline import Gateways, Stores, opened_gateways, opened_stores
from services.cli.cases.reading import read
from services.cli.cases.replaying import replay_differences
from services.cli.cases.running import Outcome, Refused, decide
from services.cli.cases.situations import Case, Situation
from services.cli.cases.worlds import write
from services.cli.failure import Failure
from services.engine.playbook.errors import PlaybookError
from services.engine.playbook.loader import load
from services.engine.playbook.playbook import Playbook


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was found over all playbooks; ``complaints`` counts what is wrong besides cases that fail."""

    situations: int = 0
    cases: int = 0
    failed: int = 0
    lacking: int = 0
    complaints: int = 0

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing is wrong."""
        return not (self.failed or self.lacking or self.complaints)

    def complain(self, message: str) -> None:
        """Say that something is wrong."""
        self.complaints += 1
        _say(message)

    def __str__(self) -> str:
        parts = [_counted(self.situations, "situation"), _counted(self.cases, "case")]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{_counted(self.lacking, 'situation')} without a near miss"] if self.lacking else []
        return ", ".join(parts)


def test(folders: Sequence[Path], *, mutate: bool, only: str) -> int:
    """Run the cases of each playbook; 1 where a case fails or anything else is wrong.

    ``only`` keeps the situations and cases whose names hold that text, in any case of letters.

    Raises:
        Failure: ``only`` leaves nothing.
    """
    tally = Tally()
    for folder in folders:
        try:
            playbook = load(folder)
            situations = read(folder, playbook)
        except PlaybookError as error:
            for problem in error.problems:
                tally.complain(f"{folder}/{problem}")
            continue
        if not situations:
            tally.complain(f"{folder}: there are no cases")
        asyncio.run(_test(folder, playbook, _chosen(situations, only), mutate, tally))
        for situation in situations:
            if situation.lacks_near_miss:
                tally.lacking += 1
                _say(f'{folder}/{situation.cases[0].file}: "{situation.title}" lacks a near miss')
    if only and not tally.cases and tally.is_clean:
        raise Failure(f'no case or situation is called anything with "{only}"')
    _say(str(tally))
    return 0 if tally.is_clean else 1


def _chosen(situations: Sequence[Situation], only: str) -> list[Situation]:
    wanted = only.casefold()
    chosen = []
    for situation in situations:
        is_whole = wanted in situation.title.casefold()
        cases = tuple(case for case in situation.cases if is_whole or wanted in case.name.casefold())
        if cases:
            chosen.append(Situation(title=situation.title, cases=cases))
    return chosen


async def _test(
    folder: Path, playbook: Playbook, situations: Sequence[Situation], mutate: bool, tally: Tally
) -> None:
    with TemporaryDirectory(prefix="tact-cases-") as home:
        async with opened_stores(Path(home, "run"), playbook) as stores:
            await write(stores, (case for situation in situations for case in situation.cases))
            async with opened_gateways(stores, playbook, stores.folder) as gateways:
                outcomes = [
                    outcome
                    for situation in situations
                    for outcome in await _run(folder, situation, stores, gateways, tally)
                ]
            if mutate and len(outcomes) == sum(len(situation.cases) for situation in situations):
                await _mutate(folder, stores, outcomes, Path(home, "mutants"), tally)
            elif mutate:
                _say(f"{folder.name}: rules are not changed until all cases pass")


async def _mutate(
    folder: Path, stores: Stores, outcomes: Sequence[Outcome], work: Path, tally: Tally
) -> None:
    changes, missed = list(mutations(folder)), 0
    async for mutation in unnoticed(changes, folder, stores, outcomes, work):
        missed += 1
        tally.complain(f"{folder}/{mutation}")
    noticed = f"{len(changes) - missed} of {_counted(len(changes), 'change')} of rules noticed"
    _say(f"{folder.name}: {noticed}")


async def _run(
    folder: Path, situation: Situation, stores: Stores, gateways: Gateways, tally: Tally
) -> list[Outcome]:
    """Run the cases of a situation, and return the outcomes of those that pass."""
    passed: list[Outcome] = []
    failures: list[str] = []
    for case in situation.cases:
        try:
            outcome = await decide(case, await gateways.of(case))
            different = [*differences(outcome, stores.folder), *await replay_differences(outcome)]
        except Refused as error:
            different = [f"the gateway refused the request: {error}"]
        if different:
            failures += _failure(folder, case, different)
        else:
            passed.append(outcome)
    count = len(situation.cases)
    _say(f"{folder.name}: {situation.title}: {len(passed)} of {count} passed", *failures)
    tally.situations += 1
    tally.cases += count
    tally.failed += count - len(passed)
    return passed


def _failure(folder: Path, case: Case, different: Sequence[str]) -> Iterator[str]:
    yield f"  {folder}/{case} fails"
    yield from (f"    {line}" for line in different)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
