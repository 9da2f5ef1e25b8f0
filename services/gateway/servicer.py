"""Translates between the contract and the gateway's handlers."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from tact.archive.v1 import archive_pb2 as archive_pb
from tact.decision.v1 import decision_service_pb2 as pb

from services.chassis.editions import Editions
from services.chassis.faults import Fault, batch_too_large, to_item_error
from services.chassis.rpc import Call
from services.gateway.adapters.encoding import ProtoEncoder
from services.gateway.adapters.messages import moment, timestamp
from services.gateway.adapters.requests import decision_request
from services.gateway.claims import ClaimHandler
from services.gateway.customers import CustomerHandler
from services.gateway.domain.replay import Replay
from services.gateway.explanations import ExplainHandler
from services.gateway.handlers import DecideHandler
from services.gateway.outcomes import OutcomeHandler, Reported
from services.gateway.replays import ReplayHandler

MOST_OUTCOMES: Final = 10_000
_KINDS: Final = {kind: name.removeprefix("OUTCOME_KIND_") for name, kind in pb.OutcomeKind.items() if kind}


class DecisionServicer:
    """Serves ``tact.decision.v1.DecisionService``."""

    def __init__(
        self,
        editions: Editions[DecideHandler],
        claims: ClaimHandler,
        explain: ExplainHandler,
        replay: ReplayHandler,
        outcomes: OutcomeHandler,
        customers: CustomerHandler,
    ) -> None:
        self._editions = editions
        self._claims = claims
        self._explain = explain
        self._replay = replay
        self._outcomes = outcomes
        self._customers = customers

    async def Decide(self, request: pb.DecideRequest, call: Call) -> Any:
        """Answer one decision, by the edition that is current when it arrives."""
        decide = self._editions.current
        encoder = ProtoEncoder(request, call.caller, decide.playbook, decide.feature_set)
        # Not of what is borrowed: a short value could be guessed from its digest.
        payload = encoder.logged_request.SerializeToString(deterministic=True)
        fingerprint = hashlib.sha256(payload).hexdigest()
        asked = decision_request(request, call.caller)
        return await decide.decide(asked, fingerprint, call.remaining, encoder)

    async def ClaimDelivery(self, request: pb.ClaimDeliveryRequest, call: Call) -> pb.ClaimDeliveryResponse:
        """Say whether a treatment may be sent now."""
        claimed = await self._claims.claim(
            request.decision_id, request.rank, request.claim_id, call.remaining
        )
        claim = claimed.claim
        return pb.ClaimDeliveryResponse(
            verdict=pb.CLAIM_VERDICT_GO if claim.goes else pb.CLAIM_VERDICT_CANCELLED,
            reason=None if claim.goes else pb.Reason(code=claim.code, text=claim.text),
            is_repeat=claimed.is_repeat,
            claim_time=timestamp(claim.time),
        )

    async def ExplainDecision(self, request: pb.ExplainDecisionRequest, call: Call) -> Any:
        """Tell the story of one decision."""
        return await self._explain.explain(request.decision_id, request.include_contributions, call.remaining)

    async def ReplayDecision(
        self, request: pb.ReplayDecisionRequest, call: Call
    ) -> pb.ReplayDecisionResponse:
        """Make one decision again and compare."""
        return replay_response(
            await self._replay.replay(request.decision_id, request.rescore, call.remaining)
        )

    async def RecordOutcomes(
        self, request: pb.RecordOutcomesRequest, call: Call
    ) -> pb.RecordOutcomesResponse:
        """Record a batch of outcomes."""
        if len(request.outcomes) > MOST_OUTCOMES:
            raise batch_too_large("outcomes", len(request.outcomes), MOST_OUTCOMES)
        answers = await self._outcomes.record(map(_outcome, request.outcomes))
        return pb.RecordOutcomesResponse(
            results=[
                pb.RecordOutcomeResult(error=to_item_error(answer))
                if isinstance(answer, Fault)
                else pb.RecordOutcomeResult(accepted=pb.OutcomeAccepted(duplicate=answer))
                for answer in answers
            ]
        )

    async def ExportCustomer(
        self, request: pb.ExportCustomerRequest, call: Call
    ) -> pb.ExportCustomerResponse:
        """Return a page of what is on record of a customer."""
        page = await self._customers.export(request.customer_ids, request.page_token)
        return pb.ExportCustomerResponse(
            rows=[archive_pb.ArchivedRow(table=table, row=row) for table, row in page.rows],
            next_page_token=page.next_token,
        )

    async def EraseCustomer(self, request: pb.EraseCustomerRequest, call: Call) -> pb.EraseCustomerResponse:
        """Erase what is on record of a customer."""
        erased = await self._customers.erase(request.customer_ids)
        return pb.EraseCustomerResponse(
            erased=[archive_pb.ErasedRows(table=table, rows=rows) for table, rows in erased.items()]
        )


def replay_response(replay: Replay) -> pb.ReplayDecisionResponse:
    """Translate a replay."""
    return pb.ReplayDecisionResponse(
        verdict=pb.ReplayVerdict.Value(f"REPLAY_VERDICT_{replay.verdict}"),
        differences=[
            pb.ReplayDifference(field=one.field, recorded=one.recorded, replayed=one.replayed)
            for one in replay.differences
        ],
        missing=replay.missing,
        is_damaged=replay.is_damaged,
        score_difference=replay.score_difference,
    )


def _outcome(outcome: pb.Outcome) -> Reported:
    return Reported(
        outcome_id=outcome.outcome_id,
        decision_id=outcome.decision_id,
        rank=outcome.rank,
        kind=_KINDS.get(outcome.kind),
        outcome_time=moment(outcome.outcome_time) if outcome.HasField("outcome_time") else None,
        measures=dict(outcome.measures),
        instead_action_id=outcome.instead_action_id,
        actor_id=outcome.actor_id,
    )
