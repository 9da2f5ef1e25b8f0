"""One of the two playbooks: decides again what is on record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from tact.log.v1 import decision_record_pb2 as log_pb

from services.cli.diff.archive import Origin
from services.cli.diff.chances import Chances, Filled, Means, Source
from services.cli.diff.contacts import Contacts
from services.cli.diff.fitting import Fitting
from services.cli.diff.gaps import Gaps
from services.engine.policy.contact import Ledger
from services.gateway.adapters.recollection import recalling
from services.gateway.domain.decision import Decision, Fate
from services.gateway.domain.making import Edition
from services.gateway.domain.remaking import Recorded, finished, remaking

_AFTER_SCORING: Final = ("score", "arbitration", "veto")


class Scorer(Protocol):
    """Scores what the log has no score of."""

    def scores(self, edition: Edition, decision: Decision, action_ids: Sequence[str]) -> Mapping[str, float]:
        """Return the chance of each action that can be scored."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A decision made again; None where the request asks only for what the playbook does not have.

    ``sources`` counts the candidates that were scored; ``lacks`` names what the playbook reads and the
    log does not hold, with the reasons.
    """

    decision: Decision | None
    sources: Counter[Source] = field(default_factory=Counter)
    lacks: Mapping[str, str] = field(default_factory=dict)


class Side:
    """Makes decisions on record again by one playbook.

    ``contacts`` is the simulated ledger, None where neither playbook has a contact policy.
    """

    def __init__(
        self, edition: Edition, means: Means, contacts: Contacts | None, scorer: Scorer | None
    ) -> None:
        self.edition = edition
        self._contacts = contacts
        self._scorer = scorer
        self._fitting = Fitting(edition)
        self._chances = Chances(edition, means)
        self._gaps = Gaps(edition.playbook)

    def make(self, record: log_pb.DecisionRecord, origin: Origin) -> Made:
        """Decide again; decisions about a customer must come in order of their time.

        Raises:
            InvalidRequest: the request breaks the contract by now.
        """
        if (fit := self._fitting.fit(record, origin)) is None:
            return Made(decision=None)
        fitted, misfits = fit
        recorded = finished(recalling(fitted, self.edition))
        filled = self._chances.fill(record, origin)
        recorded = replace(recorded, candidates=filled.candidates, ledger=self._ledger(recorded))
        decision = finished(remaking(self.edition, recorded))
        if self._scorer is not None:
            decision, filled = self._asked(self._scorer, recorded, decision, filled)
        if self._contacts is not None:
            self._contacts.note(decision, live=recorded.request.live)
        return Made(
            decision=decision,
            sources=Counter(filled.sources[fate.key] for fate in decision.fates if _was_scored(fate)),
            lacks=self._gaps.of(decision, recorded, origin, self._fitting.relaying(origin), misfits),
        )

    def _ledger(self, recorded: Recorded) -> Ledger | None:
        if self._contacts is None or recorded.profile is None:
            return None
        customer_id = recorded.profile.customer_id
        return self._contacts.known(customer_id, recorded.decision_time, recorded.ledger)

    def _asked(
        self, scorer: Scorer, recorded: Recorded, decision: Decision, filled: Filled
    ) -> tuple[Decision, Filled]:
        """Decide once more where the scorer knows better than what stood in; the rest is the same."""
        asked = {
            fate.action_id: None
            for fate in decision.fates
            if _was_scored(fate) and filled.sources[fate.key] is not Source.RECORDED
        }
        if not (scores := scorer.scores(self.edition, decision, list(asked))):
            return decision, filled
        better = filled.scored(scores)
        return finished(remaking(self.edition, replace(recorded, candidates=better.candidates))), better


def _was_scored(fate: Fate) -> bool:
    return fate.removal is None or fate.removal.stage in _AFTER_SCORING
