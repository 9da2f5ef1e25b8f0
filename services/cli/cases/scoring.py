"""A scoring service that answers what a case says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from tact.errors.v1 import errors_pb2
from tact.scoring.v1 import scoring_service_pb2 as pb

from services.chassis.faults import Fault, FaultKind
from services.chassis.rpc import Call, Service
from services.cli.cases.references import DEFAULT
from services.engine.features.schema import fingerprint

MODEL: Final = "cases"
UNSAID: Final = 0.5
"""The propensity where a case says nothing of scores."""


class ScriptedScoring:
    """Serves ``tact.scoring.v1.ScoringService``: a model without features that knows what to say.

    ``propensities`` are those of the next decision's actions, in their order; while there are none,
    every action gets ``default``.
    """

    def __init__(self, priors: Mapping[str, float]) -> None:
        self.default = UNSAID
        self.propensities: Sequence[float] = ()
        self._priors = dict(priors)

    async def BatchScore(self, request: pb.BatchScoreRequest, call: Call) -> pb.BatchScoreResponse:
        """Answer each item with the propensities."""
        return pb.BatchScoreResponse(
            results=[
                pb.ScoreResult(scores=pb.Scores(propensities=self._of(item.candidates)))
                for item in request.items
            ],
            model_version=MODEL,
        )

    async def GetModel(self, request: pb.GetModelRequest, call: Call) -> pb.GetModelResponse:
        """Describe a model that needs no feature."""
        priors = {group: prior for group, prior in self._priors.items() if group != DEFAULT}
        return pb.GetModelResponse(
            model_name=MODEL,
            model_version=MODEL,
            schema_fingerprint=fingerprint(()),
            priors=priors,
            overall_prior=self._priors.get(DEFAULT, 0.0),
        )

    async def ExplainScores(self, request: pb.ExplainScoresRequest, call: Call) -> pb.ExplainScoresResponse:
        """Refuse: what was said without features rests on none."""
        reason = errors_pb2.ERROR_REASON_MODEL_NOT_READY
        raise Fault(FaultKind.UNAVAILABLE, reason, "scores of cases have no contributions")

    def service(self) -> Service:
        """Return it as the chassis runs it."""
        descriptor = pb.DESCRIPTOR.services_by_name["ScoringService"]
        return Service(name="scoring", descriptor=descriptor, servicer=self, registry=CollectorRegistry())

    def _of(self, candidates: int) -> Sequence[float]:
        return self.propensities or [self.default] * candidates
