"""Readers of the other services over their stubs, on the wire or in process alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, cast

import grpc
import numpy as np
from tact.errors.v1 import errors_pb2
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from tact.scoring.v1 import scoring_service_pb2 as scoring_pb

from services.chassis.clients import OUT_OF_REACH, Stub, UnaryCall
from services.chassis.faults import error_info, reason_name
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook import values
from services.engine.playbook.playbook import Playbook
from services.gateway.adapters.messages import origin, permission, plain, timestamp
from services.gateway.domain.knowledge import (
    Cause,
    Features,
    Model,
    Profile,
    Scores,
    Unavailable,
    Vector,
)
from services.gateway.domain.request import CustomerKey

_MOST_SECONDS: Final = 1e10
_MISMATCHES: Final = frozenset(
    reason_name(reason)
    for reason in (
        errors_pb2.ERROR_REASON_PLAYBOOK_VERSION_UNKNOWN,
        errors_pb2.ERROR_REASON_SCHEMA_MISMATCH,
        errors_pb2.ERROR_REASON_SEQUENCE_NOT_REACHED,
    )
)


class StubProfiles:
    """Implements ``ProfileReader``; attributes that the playbook does not declare are left out."""

    def __init__(self, stub: Stub, playbook: Playbook) -> None:
        self._stub = stub
        self._declared = playbook.profile.attributes

    async def read(self, key: CustomerKey, as_of: datetime | None, timeout: float) -> Profile:
        """Read one profile."""
        request = profile_pb.BatchGetProfilesRequest(
            customers=[_key(key)], as_of_time=None if as_of is None else timestamp(as_of)
        )
        response = await _call(self._stub.BatchGetProfiles, request, timeout)
        profile = _only(response.results).profile
        if profile.found and not profile.customer_id:
            raise Unavailable(Cause.ERROR, "profile answered without saying for whom")
        with _legible("profile"):
            return Profile(
                found=profile.found,
                customer_id=profile.customer_id,
                attributes=dict(self._attributes(profile)),
                origins={name: origin(attribute) for name, attribute in profile.attributes.items()},
                permissions={(c.purpose, c.channel): permission(c) for c in profile.consents},
                members=tuple(profile.member_ids),
                identity_version=profile.identity_version,
                lease=profile.identity_lease.ToTimedelta().total_seconds() or math.inf,
            )

    def _attributes(self, profile: profile_pb.Profile) -> Iterator[tuple[str, values.Value]]:
        for name, attribute in profile.attributes.items():
            if (declared := self._declared.get(name)) is None:
                continue
            try:
                yield name, values.parse(declared, plain(attribute.value))
            except ValueError:
                # Recorded under an older declaration: missing, rather than misread.
                continue


class StubFeatures:
    """Implements ``FeatureReader``."""

    def __init__(self, stub: Stub, playbook: Playbook, features: FeatureSet) -> None:
        self._stub = stub
        self._playbook = playbook
        self._features = features

    async def reach(self, timeout: float) -> None:
        """Read no customers."""
        await self._results([], 0, timeout)

    async def read(
        self,
        members: Sequence[str],
        as_of: datetime,
        action_ids: Sequence[str],
        min_sequence: int,
        timeout: float,
    ) -> Features:
        """Read one customer's features."""
        customer_id, *others = members
        key = features_pb.FeatureKey(
            customer_id=customer_id, as_of_time=timestamp(as_of), action_ids=action_ids, member_ids=others
        )
        vectors = _only(await self._results([key], min_sequence, timeout)).vectors
        names, per_action = self._features.customer_names, self._features.candidate_names
        with _legible("features"):
            rows = _numbers(vectors.candidate_vectors).reshape(len(action_ids), len(per_action))
            return Features(
                as_of=as_of,
                sequence=vectors.as_of_sequence,
                customer=_named(names, vectors.customer_vector),
                ages={name: _age(age) for name, age in _named(names, vectors.customer_ages).items()},
                candidates={
                    action_id: dict(zip(per_action, row, strict=True))
                    for action_id, row in zip(action_ids, rows.tolist(), strict=True)
                },
            )

    async def _results(
        self, keys: Sequence[features_pb.FeatureKey], min_sequence: int, timeout: float
    ) -> Sequence[Any]:
        request = features_pb.BatchGetFeaturesRequest(
            customers=keys, playbook_version=self._playbook.version, min_sequence=min_sequence
        )
        response = await _call(self._stub.BatchGetFeatures, request, timeout)
        if response.schema_fingerprint != self._features.served_fingerprint:
            raise Unavailable(Cause.MISMATCH, "features has another layout of vectors")
        return cast("Sequence[Any]", response.results)


class StubScorer:
    """Implements ``Scorer``."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    async def describe(self, timeout: float) -> Model:
        """Ask which model is served."""
        model = await _call(self._stub.GetModel, scoring_pb.GetModelRequest(), timeout)
        if not all(0.0 <= prior <= 1.0 for prior in (model.overall_prior, *model.priors.values())):
            raise Unavailable(Cause.ERROR, "scoring described a model whose priors are no probabilities")
        return Model(
            version=model.model_version,
            fingerprint=model.schema_fingerprint,
            layout=tuple((f.name, f.definition_hash, f.candidate) for f in model.features),
            priors=dict(model.priors),
            overall_prior=model.overall_prior,
        )

    async def score(self, fingerprint: str, customer: Vector, candidates: Vector, timeout: float) -> Scores:
        """Score the candidates of one decision."""
        request = scoring_pb.BatchScoreRequest(
            items=[_item(customer, candidates)],
            schema_fingerprint=fingerprint,
        )
        response = await _call(self._stub.BatchScore, request, timeout)
        propensities = tuple(_only(response.results).scores.propensities)
        if len(propensities) != len(candidates) or not all(0.0 <= p <= 1.0 for p in propensities):
            raise Unavailable(Cause.ERROR, "scoring answered with something that is no score")
        return Scores(propensities=propensities, model_version=response.model_version)

    async def contributions(
        self, model: Model, customer: Vector, candidates: Vector, timeout: float
    ) -> Vector:
        """Ask what made the scores of the candidates of one decision."""
        request = scoring_pb.ExplainScoresRequest(
            items=[_item(customer, candidates)],
            schema_fingerprint=model.fingerprint,
            model_version=model.version,
        )
        response = await _call(self._stub.ExplainScores, request, timeout)
        if response.model_version != model.version:
            raise Unavailable(Cause.MISMATCH, "scoring explained another model")
        with _legible("scoring"):
            amounts = _numbers(_only(response.results).contributions.contributions)
            if np.isnan(amounts).any():
                raise ValueError("a contribution is a number")
            return amounts.reshape(len(candidates), len(model.layout) + 1)


def _item(customer: Vector, candidates: Vector) -> scoring_pb.ScoreItem:
    return scoring_pb.ScoreItem(
        customer_vector=customer.astype("<f8").tobytes(),
        candidate_vectors=candidates.astype("<f8").tobytes(),
        candidates=len(candidates),
    )


async def _call(rpc: UnaryCall, request: Any, timeout: float) -> Any:
    try:
        return await rpc(request, timeout=timeout)
    except grpc.aio.AioRpcError as error:
        info = error_info(error)
        if info is not None and info.reason in _MISMATCHES:
            raise Unavailable(Cause.MISMATCH, info.reason) from None
        code = error.code()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise Unavailable(Cause.TIMEOUT, "no answer in time") from None
        if code in OUT_OF_REACH:
            raise Unavailable(Cause.UNAVAILABLE, "out of reach" if info is None else info.reason) from None
        raise Unavailable(Cause.ERROR, code.name if info is None else info.reason) from None


def _only(results: Sequence[Any]) -> Any:
    if len(results) != 1:
        raise Unavailable(Cause.ERROR, f"{len(results)} results for one item")
    match results[0].WhichOneof("result"):
        case None:
            raise Unavailable(Cause.ERROR, "an item without a result")
        case "error":
            raise Unavailable(Cause.ERROR, _reason(results[0].error))
    return results[0]


def _reason(error: errors_pb2.ItemError) -> str:
    # A newer service may give a reason that this program has no name for.
    is_known = error.reason in errors_pb2.ErrorReason.values()
    return reason_name(error.reason) if is_known else f"reason {error.reason}"


@contextmanager
def _legible(source: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise Unavailable(Cause.ERROR, f"{source} answered with something unreadable") from error


def _key(key: CustomerKey) -> profile_pb.CustomerKey:
    if key.identity is None:
        return profile_pb.CustomerKey(customer_id=key.customer_id)
    kind, value = key.identity
    return profile_pb.CustomerKey(identity=profile_pb.Identity(kind=kind, value=value))


def _age(seconds: float) -> float:
    if not (math.isnan(seconds) or 0.0 <= seconds < _MOST_SECONDS):
        raise ValueError("no age")
    return seconds


def _named(names: Sequence[str], vector: bytes) -> dict[str, float]:
    return dict(zip(names, _numbers(vector).tolist(), strict=True))


def _numbers(vector: bytes) -> Vector:
    numbers = np.frombuffer(vector, "<f8")
    if np.isinf(numbers).any():
        raise ValueError("an infinity is no feature")
    return numbers
