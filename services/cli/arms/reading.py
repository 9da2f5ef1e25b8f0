"""Decisions, reports and playbooks as the report on control arms needs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tact.log.v1.decision_record_pb2 import DecisionRecord

from services.cli.decision_log import outcomes, records
from services.cli.shelf import Shelf, usual_places
from services.engine.playbook.loader import load
from services.engine.playbook.playbook import DO_NOTHING, Playbook
from services.engine.playbook.store import opened
from services.gateway.adapters.sealing import seal_of
from training.data.decided import Decided, Offered, Reported


def decisions(log: str | None, *, live: bool) -> Iterator[Decided | None]:
    """Yield the decisions on record, live ones or dry runs; None for a record that is damaged.

    Raises:
        Failure: the log cannot be read.
    """
    for entry in records(log, live=live, dry=not live):
        if seal_of(entry.record) == "damaged":
            yield None
            continue
        try:
            yield _decided(DecisionRecord.FromString(entry.record))
        except DecodeError:
            yield None


def reports(log: str | None) -> Iterator[Reported]:
    """Yield what was reported of live decisions.

    Raises:
        Failure: the log cannot be read.
    """
    for one in outcomes(log):
        yield Reported(
            decision_id=one.decision_id,
            rank=one.rank,
            kind=one.kind,
            time=one.outcome_time,
            measures=one.measures,
        )


class Playbooks:
    """Finds the playbook of a version.

    One that is named stands for all versions. Else each is looked for wherever services and shipped
    ones lie; for those that are not at hand, what services would begin with stands in.
    """

    def __init__(self, named: Path | None, home: Path) -> None:
        """Load the playbook that is named, or what services would begin with.

        Raises:
            PlaybookError: it cannot be used.
        """
        setting = os.environ.get("TACT_PLAYBOOK")
        self.current = load(named) if named else opened(Path(setting) if setting else None, home)[0]
        self._shelf = Shelf([] if named else list(usual_places(home)))
        self._known = {self.current.version: self.current}

    def of(self, version: str) -> Playbook:
        """Return the playbook of a version, or what stands in for it."""
        if version not in self._known:
            found = self._shelf.find(version)
            self._known[version] = self.current if isinstance(found, str) else found.playbook
        return self._known[version]

    def lacks(self, version: str) -> bool:
        """Tell whether another version stands in."""
        return self.of(version).version != version


def _decided(record: DecisionRecord) -> Decided:
    response = record.response
    return Decided(
        decision_id=response.decision_id,
        # Without a profile nobody knew whom the decision was about, whatever id was asked for.
        customer_id=response.customer_id if record.HasField("profile") else "",
        time=response.decision_time.ToMicroseconds(),
        playbook_version=response.playbook_version,
        arm=response.control_arm,
        arm_share=record.control_arm_share,
        members=record.profile.member_ids,
        candidates=frozenset(one.action_id for one in record.candidates) - {DO_NOTHING},
        offered=tuple(
            Offered(
                rank=one.rank,
                action_id=one.action_id,
                value=one.value.micros,
                cost=one.cost.micros,
                currency=one.value.currency,
            )
            for one in response.actions
        ),
    )
