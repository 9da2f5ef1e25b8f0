"""Decisions on record by two playbooks, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC

from tact.log.v1 import decision_record_pb2 as log_pb

from services.cli.decision_log import Entry
from services.cli.diff import segments
from services.cli.diff.archive import Archive
from services.cli.diff.chances import Source
from services.cli.diff.contacts import Contacts
from services.cli.diff.rows import Row, answer_of, losses
from services.cli.diff.side import Made, Scorer, Side
from services.cli.diff.survey import Survey, readable
from services.engine.policy.contact import horizon
from services.engine.violations import InvalidRequest
from services.gateway.adapters.encoding import response_of
from services.gateway.domain.making import Edition


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one playbook's decisions rested on: candidates by what scored them, and names it did without.

    ``lacks`` counts the decisions that each name concerns, with the reason.
    """

    sources: Counter[Source] = field(default_factory=Counter)
    lacks: Counter[tuple[str, str]] = field(default_factory=Counter)

    def note(self, made: Made) -> None:
        """Take in one decision."""
        self.sources.update(made.sources)
        self.lacks.update(made.lacks.items())


@dataclass(slots=True, kw_only=True)
class Comparison:
    """All decisions on record by OLD and NEW.

    ``refused`` are the decisions whose request breaks the contract by now, ``damaged`` those whose record
    is; ``foreign`` counts those made by each playbook that is not at hand.
    """

    old: Edition
    new: Edition
    is_simulated: bool
    rows: list[Row] = field(default_factory=list)
    by_old: Tally = field(default_factory=Tally)
    by_new: Tally = field(default_factory=Tally)
    refused: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    foreign: Counter[str] = field(default_factory=Counter)


def compare(
    found: Survey,
    archive: Archive,
    editions: tuple[Edition, Edition],
    *,
    by: Sequence[str],
    scorers: tuple[Scorer | None, Scorer | None],
    watched: Callable[[Sequence[Entry]], Iterable[Entry]],
) -> Comparison:
    """Make every decision again by both playbooks; ``by`` names what rows are divided by.

    Where either has a contact policy, each decides on a ledger of its own, simulated over time.
    """
    is_simulated = any(horizon(edition.playbook.policies) for edition in editions)
    old, new = (
        Side(edition, found.means, Contacts(found.reported, found.live) if is_simulated else None, scorer)
        for edition, scorer in zip(editions, scorers, strict=True)
    )
    comparison = Comparison(
        old=old.edition, new=new.edition, is_simulated=is_simulated, damaged=found.damaged
    )
    for entry in watched(found.entries):
        if (record := readable(entry)) is None:
            continue
        origin = archive.origin(record)
        if not origin.is_exact:
            comparison.foreign[record.response.playbook_version] += 1
        try:
            made = old.make(record, origin), new.make(record, origin)
        except InvalidRequest:
            comparison.refused.append(entry.decision_id)
            continue
        comparison.by_old.note(made[0])
        comparison.by_new.note(made[1])
        comparison.rows.append(_row(entry, record, made, (old.edition, new.edition), by))
    return comparison


def _row(
    entry: Entry,
    record: log_pb.DecisionRecord,
    made: tuple[Made, Made],
    editions: tuple[Edition, Edition],
    by: Sequence[str],
) -> Row:
    before, after = (answer_of(each.decision) for each in made)
    decisions = [each.decision for each in made]
    return Row(
        customer_id=record.response.customer_id,
        decision_id=entry.decision_id,
        time=record.response.decision_time.ToDatetime(UTC),
        live=entry.live,
        agrees=_agrees(record, made[0], editions[0]),
        old=before,
        new=after,
        losses=tuple(losses(before, after, editions[1].playbook, made[1].decision)),
        segments=tuple(segments.value(name, decisions) for name in by),
    )


def _agrees(record: log_pb.DecisionRecord, made: Made, edition: Edition) -> bool | None:
    """Tell whether an answer is the one on record, None where another playbook made that."""
    if record.response.playbook_version != edition.playbook.version:
        return None
    return made.decision is not None and response_of(made.decision) == record.response
