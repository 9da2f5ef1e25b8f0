"""What one decision made again had to do without, because the log does not hold it."""

from __future__ import annotations

from collections.abc import Iterator

from services.cli.diff.archive import Origin
from services.cli.diff.fitting import Misfits
from services.cli.diff.lacking import lacking
from services.cli.diff.relaying import Relaying
from services.engine.playbook.expressions import KNOWN
from services.engine.playbook.formulas import FEATURE
from services.engine.playbook.playbook import Playbook
from services.gateway.domain.decision import Decision, Fate
from services.gateway.domain.funnel import concerning
from services.gateway.domain.remaking import Recorded


class Gaps:
    """Names what a playbook reads that records do not hold."""

    def __init__(self, playbook: Playbook) -> None:
        self._playbook = playbook
        self._always: dict[tuple[str, str], dict[str, str]] = {}

    def of(
        self, decision: Decision, recorded: Recorded, origin: Origin, relaying: Relaying, misfits: Misfits
    ) -> dict[str, str]:
        """Return the names with the reasons; nothing for a customer who is not on file."""
        if decision.situation is None:
            return {}
        if (always := self._always.get(origin.key)) is None:
            always = self._always[origin.key] = lacking(self._playbook, origin, relaying)
        found = dict(always)
        found |= dict.fromkeys(self._unfit(misfits), "its value does not fit any more")
        found |= dict.fromkeys(self._rowless(decision, recorded, relaying), "no candidate then")
        found |= dict.fromkeys(self._borrowed(decision, recorded), "borrowed, so never logged")
        return found

    def _unfit(self, misfits: Misfits) -> Iterator[str]:
        head, profile = self._playbook.head, self._playbook.profile
        yield from (f"context.{name}" for name in misfits.context if name in head.context)
        yield from (f"profile.{name}" for name in misfits.profile if name in profile.attributes)
        if misfits.channel:
            yield "context.channel"

    def _rowless(self, decision: Decision, recorded: Recorded, relaying: Relaying) -> Iterator[str]:
        """Yield the features of actions that were no candidates when it was decided."""
        if recorded.features is None:
            return
        for fate in decision.fates:
            if fate.action_id not in recorded.features.candidates:
                yield from (f"{name} of {fate.action_id}" for name in self._read_of(fate, relaying))

    def _read_of(self, fate: Fate, relaying: Relaying) -> Iterator[str]:
        about = concerning(self._playbook, fate)
        rules = [*about.shared, *about.own, *about.others]
        reads = {name for rule in rules if rule.expression for name in rule.expression.reads}
        for name in sorted({read.removeprefix(KNOWN) for read in reads}):
            if name.removeprefix(FEATURE) in relaying.rows:
                yield name

    def _borrowed(self, decision: Decision, recorded: Recorded) -> Iterator[str]:
        asked = {} if decision.situation is None else decision.situation.verdicts.borrowed
        for key in asked.keys() - recorded.withheld.keys():
            reads = self._playbook.environment.compile(key[0]).reads
            yield from {name.removeprefix(KNOWN) for name in reads} & self._playbook.borrowed
