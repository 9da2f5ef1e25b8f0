"""Outcomes and models as rows, the same in every store. Times are microseconds since 1970."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from services.chassis.stores import parsing
from services.engine.instants import instant, microseconds
from services.gateway.adapters.ledger_rows import ContactRow, answered, contact_row
from services.gateway.domain.knowledge import Model
from services.gateway.domain.outcomes import OutcomeReport, Settled, settle

OutcomeRow = Sequence[Any]
"""Id, decision, rank, kind, time, measures as JSON, what was done instead, and by whom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What becomes of reports, and the rows to write: outcomes with their record time and customer."""

    settled: Settled
    outcomes: Sequence[OutcomeRow]
    contacts: Sequence[ContactRow]
    owners: frozenset[str]


def settlement(
    store: str,
    reports: Sequence[OutcomeReport],
    known: Iterable[OutcomeRow],
    answers: Sequence[Any],
    contacts: Sequence[Sequence[Any]],
    erased: Collection[str],
    now: datetime,
) -> Settlement:
    """Decide on reports by the rows of the same outcomes, of the decisions named and of their contacts.

    ``erased`` are the ids of those that were erased.

    Raises:
        StoreUnavailable: a row is not what was written to ``store``.
    """
    with parsing(store):
        before = {row[0]: outcome_of(row) for row in known}
        about = answered(answers, contacts)
    settled = settle(reports, before, about, erased)
    owners = [about[report.decision_id].customer_id for report in settled.fresh]
    return Settlement(
        settled=settled,
        outcomes=[
            (*outcome_row(report), microseconds(now), owner)
            for report, owner in zip(settled.fresh, owners, strict=True)
        ],
        contacts=[contact_row(*place, standing) for place, standing in settled.moved.items()],
        owners=frozenset(owners),
    )


def outcome_row(report: OutcomeReport) -> OutcomeRow:
    """Return the row of an outcome."""
    return (
        report.outcome_id,
        report.decision_id,
        report.rank,
        report.kind,
        microseconds(report.outcome_time),
        # As a text, so that no store touches its numbers.
        json.dumps(dict(report.measures)),
        report.instead_action_id,
        report.actor_id,
    )


def outcome_of(row: OutcomeRow) -> OutcomeReport:
    """Read an outcome."""
    outcome_id, decision_id, rank, kind, outcome_time, measures, instead_action_id, actor_id = row
    return OutcomeReport(
        outcome_id=outcome_id,
        decision_id=decision_id,
        rank=rank,
        kind=kind,
        outcome_time=instant(outcome_time),
        measures=json.loads(measures),
        instead_action_id=instead_action_id,
        actor_id=actor_id,
    )


def model_text(model: Model) -> str:
    """Write a model as one text."""
    return json.dumps(asdict(model))


def model_of(text: str) -> Model:
    """Read a model.

    Raises:
        ValueError, TypeError, KeyError: ``text`` is none.
    """
    kept = json.loads(text)
    layout = tuple((name, digest, candidate) for name, digest, candidate in kept.pop("layout"))
    return Model(layout=layout, **kept)
