"""Translates between the contract and the scoring service's handlers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from tact.errors.v1 import errors_pb2
from tact.scoring.v1 import scoring_service_pb2 as pb

from services.chassis.faults import Fault, FaultKind, Violation, batch_too_large, invalid, to_item_error
from services.chassis.rpc import Call
from services.scoring.domain.batch import Invalid, ScoreItem
from services.scoring.domain.bundle import Matrix, Vector
from services.scoring.handlers import (
    ModelNotReady,
    Overloaded,
    SchemaMismatch,
    ScoringHandlers,
    VersionMismatch,
)

MOST_ITEMS: Final = 1_000
MOST_CANDIDATES: Final = 100_000
MOST_ITEMS_EXPLAINED: Final = 100
MOST_CANDIDATES_EXPLAINED: Final = 1_000


class ScoringServicer:
    """Serves ``tact.scoring.v1.ScoringService``."""

    def __init__(self, handlers: ScoringHandlers) -> None:
        self._handlers = handlers

    async def BatchScore(self, request: pb.BatchScoreRequest, call: Call) -> pb.BatchScoreResponse:
        """Score the candidates of decisions."""
        items = _items(request.items, MOST_ITEMS, MOST_CANDIDATES)
        with _faults():
            answers, version = await self._handlers.score(items, request.schema_fingerprint)
        return pb.BatchScoreResponse(results=map(_result, answers), model_version=version)

    async def ExplainScores(self, request: pb.ExplainScoresRequest, call: Call) -> pb.ExplainScoresResponse:
        """Tell what each feature contributed to each score."""
        items = _items(request.items, MOST_ITEMS_EXPLAINED, MOST_CANDIDATES_EXPLAINED)
        with _faults():
            answers, version = await self._handlers.explain(
                items, request.schema_fingerprint, request.model_version
            )
        return pb.ExplainScoresResponse(results=map(_explained, answers), model_version=version)

    async def GetModel(self, request: pb.GetModelRequest, call: Call) -> pb.GetModelResponse:
        """Describe the model that is served."""
        with _faults():
            served = self._handlers.served()
        bundle = served.model.bundle
        response = pb.GetModelResponse(
            model_name=served.reference.name,
            model_version=served.reference.version,
            run_id=served.reference.run_id,
            schema_fingerprint=bundle.schema_fingerprint,
            features=[
                pb.ModelFeature(
                    name=feature.name, definition_hash=feature.definition_hash, candidate=feature.candidate
                )
                for feature in bundle.features
            ],
            priors=bundle.priors,
            overall_prior=bundle.overall_prior,
            playbook_version=bundle.playbook_version,
        )
        response.load_time.FromDatetime(served.load_time)
        if (refused := self._handlers.refused()) is not None:
            response.refused.model_version = refused.reference.version
            response.refused.cause = refused.cause
            response.refused.detail = refused.detail
        return response


def _items(items: Sequence[pb.ScoreItem], most: int, most_candidates: int) -> list[ScoreItem]:
    if len(items) > most:
        raise batch_too_large("items", len(items), most)
    candidates = sum(max(item.candidates, 0) for item in items)
    if candidates > most_candidates:
        raise batch_too_large("items.candidates", candidates, most_candidates)
    return [ScoreItem(item.customer_vector, item.candidate_vectors, item.candidates) for item in items]


def _explained(answer: Matrix | Invalid) -> pb.ScoreContributionsResult:
    if isinstance(answer, Invalid):
        return pb.ScoreContributionsResult(error=_error(answer))
    contributions = pb.ScoreContributions(contributions=answer.astype("<f8").tobytes())
    return pb.ScoreContributionsResult(contributions=contributions)


def _error(answer: Invalid) -> errors_pb2.ItemError:
    violations = (Violation(field, description) for field, description in answer.violations)
    return to_item_error(invalid(*violations))


def _result(answer: Vector | Invalid) -> pb.ScoreResult:
    if isinstance(answer, Invalid):
        return pb.ScoreResult(error=_error(answer))
    return pb.ScoreResult(scores=pb.Scores(propensities=answer.tolist()))


@contextmanager
def _faults() -> Iterator[None]:
    """Raise what the handlers raise as the faults that the contract names."""
    try:
        yield
    except ModelNotReady as error:
        raise Fault(FaultKind.UNAVAILABLE, errors_pb2.ERROR_REASON_MODEL_NOT_READY, str(error)) from None
    except SchemaMismatch as error:
        raise Fault(
            FaultKind.PRECONDITION,
            errors_pb2.ERROR_REASON_SCHEMA_MISMATCH,
            str(error),
            {"schema_fingerprint": error.expected},
        ) from None
    except VersionMismatch as error:
        raise Fault(
            FaultKind.PRECONDITION,
            errors_pb2.ERROR_REASON_SCHEMA_MISMATCH,
            str(error),
            {"model_version": error.served},
        ) from None
    except Overloaded as error:
        raise Fault(FaultKind.OVERLOADED, errors_pb2.ERROR_REASON_OVERLOADED, str(error)) from None
