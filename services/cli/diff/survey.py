"""A first look at a log: which records can be used, in which order, and what they have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.message import DecodeError
from tact.log.v1 import decision_record_pb2 as log_pb

from services.cli.decision_log import Entry, Outcome
from services.cli.diff.archive import Archive
from services.cli.diff.chances import Means, Scores
from services.cli.diff.contacts import Reported
from services.engine.instants import instant
from services.gateway.adapters.sealing import seal_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a log holds: ``entries`` in order of the decisions' times, what was ``reported`` of them.

    ``live`` are the customers with live decisions, ``damaged`` the ids of records that cannot be used.
    """

    entries: list[Entry]
    means: Means
    reported: list[Reported]
    live: frozenset[str]
    damaged: list[str]


def survey(entries: Iterable[Entry], outcomes: Iterable[Outcome], archive: Archive) -> Survey:
    """Look through a log once; decisions of one time keep their order."""
    kept: list[tuple[datetime, Entry]] = []
    damaged, scores = [], Scores(archive)
    live: set[str] = set()
    answered: dict[tuple[str, int], tuple[str, str]] = {}
    for entry in entries:
        if (record := readable(entry)) is None:
            damaged.append(entry.decision_id)
            continue
        scores.note(record)
        response = record.response
        kept.append((response.decision_time.ToDatetime(UTC), entry))
        if entry.live:
            live.add(response.customer_id)
            answered |= {
                (entry.decision_id, action.rank): (response.customer_id, action.action_id)
                for action in response.actions
            }
    kept.sort(key=lambda one: one[0])
    return Survey(
        entries=[entry for _, entry in kept],
        means=scores.means(),
        reported=[
            Reported(
                customer_id=found[0],
                action_id=found[1],
                kind=one.kind.lower(),
                time=instant(one.outcome_time),
            )
            for one in outcomes
            if (found := answered.get((one.decision_id, one.rank))) is not None
        ],
        live=frozenset(live),
        damaged=damaged,
    )


def readable(entry: Entry) -> log_pb.DecisionRecord | None:
    """Return a record without its explanation, None where it is damaged."""
    if seal_of(entry.record) == "damaged":
        return None
    try:
        record = log_pb.DecisionRecord.FromString(entry.record)
    except DecodeError:
        return None
    record.response.ClearField("explanation")
    return record
