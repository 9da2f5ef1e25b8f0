"""What other services answer is checked: anything unreadable is a dependency that gave no answer."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import grpc
import numpy as np
import pytest
from deciding import ANNA, NOW, feature_set, instant, json_value, model, playbook
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from tact.errors.v1 import errors_pb2
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from tact.scoring.v1 import scoring_service_pb2 as scoring_pb

from services.chassis.faults import STATUS_DETAILS_KEY
from services.engine.policy.consent import Permission
from services.gateway.adapters.stubs import StubFeatures, StubProfiles, StubScorer
from services.gateway.domain.knowledge import Cause, Unavailable
from services.gateway.domain.request import CustomerKey

ACTIONS = ["wine-coupon", "survey"]
NUMBERS = [1.0, 2.0, 3.0, float("nan")]


class Answering:
    """A stub whose every RPC gives one answer, or fails."""

    def __init__(self, answer):
        self._answer = answer
        self.requests = []

    def __getattr__(self, rpc):
        async def call(request, *, timeout=None, metadata=None):
            self.requests.append((rpc, request, timeout))
            if isinstance(self._answer, Exception):
                raise self._answer
            return self._answer

        return call


def failed(code, details=b""):
    trailing = grpc.aio.Metadata((STATUS_DETAILS_KEY, details)) if details else grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, "words for people")


def explained(code, reason):
    status = status_pb2.Status(code=code.value[0])
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain="tact", reason=reason))
    return failed(code, status.SerializeToString())


def read_profile(answer, key=None, as_of=None):
    reader = StubProfiles(answer if isinstance(answer, Answering) else Answering(answer), playbook())
    return asyncio.run(reader.read(key or CustomerKey(customer_id=ANNA), as_of, 0.5))


def read_features(answer, action_ids=ACTIONS):
    reader = StubFeatures(
        answer if isinstance(answer, Answering) else Answering(answer), playbook(), feature_set()
    )
    return asyncio.run(reader.read([ANNA], NOW, action_ids, 5, 0.5))


def score(answer):
    rows = np.array([[0.5, 10.0], [np.nan, 20.0]])
    scorer = StubScorer(answer if isinstance(answer, Answering) else Answering(answer))
    return asyncio.run(scorer.score("f", np.array([1.0]), rows, 0.5))


def contributions(answer):
    scorer = StubScorer(answer if isinstance(answer, Answering) else Answering(answer))
    return asyncio.run(
        scorer.contributions(model(), np.ones(4), np.array([[0.5, 10.0], [np.nan, 20.0]]), 0.5)
    )


def describe(answer):
    return asyncio.run(StubScorer(Answering(answer)).describe(0.5))


def cause(read, answer):
    with pytest.raises(Unavailable) as raised:
        read(answer)
    return raised.value.cause


def profiles(*results):
    return profile_pb.BatchGetProfilesResponse(results=results)


def found(**fields):
    profile = profile_pb.Profile(**({"found": True, "customer_id": ANNA} | fields))
    return profiles(profile_pb.ProfileResult(profile=profile))


def vectors(customer=NUMBERS, ages=NUMBERS, candidates=(0.5, float("nan")), fingerprint=None, **fields):
    def packed(numbers):
        return numbers if isinstance(numbers, bytes) else np.array(numbers, "<f8").tobytes()

    answer = features_pb.FeatureVectors(
        customer_vector=packed(customer),
        customer_ages=packed(ages),
        candidate_vectors=packed(candidates),
        as_of_sequence=9,
        **fields,
    )
    return features_pb.BatchGetFeaturesResponse(
        results=[features_pb.FeatureResult(vectors=answer)],
        schema_fingerprint=feature_set().served_fingerprint if fingerprint is None else fingerprint,
    )


def scores(*propensities, results=1):
    result = scoring_pb.ScoreResult(scores=scoring_pb.Scores(propensities=propensities))
    return scoring_pb.BatchScoreResponse(results=[result] * results, model_version="3")


def amounts(numbers=tuple(range(14)), results=1, version="1"):
    packed = numbers if isinstance(numbers, bytes) else np.array(numbers, "<f8").tobytes()
    explained = scoring_pb.ScoreContributions(contributions=packed)
    result = scoring_pb.ScoreContributionsResult(contributions=explained)
    return scoring_pb.ExplainScoresResponse(results=[result] * results, model_version=version)


READERS = [(read_profile, found()), (read_features, vectors()), (score, scores(0.1, 0.2))]


@pytest.mark.parametrize(("read", "answer"), READERS, ids=["profile", "features", "scoring"])
def test_a_plain_answer_is_read(read, answer):
    assert read(answer)


@pytest.mark.parametrize("read", [read_profile, read_features, score, describe, contributions])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (failed(grpc.StatusCode.DEADLINE_EXCEEDED), Cause.TIMEOUT),
        (failed(grpc.StatusCode.UNAVAILABLE), Cause.UNAVAILABLE),
        (failed(grpc.StatusCode.CANCELLED), Cause.UNAVAILABLE),
        (explained(grpc.StatusCode.UNAVAILABLE, "MODEL_NOT_READY"), Cause.UNAVAILABLE),
        (explained(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"), Cause.UNAVAILABLE),
        (explained(grpc.StatusCode.FAILED_PRECONDITION, "PLAYBOOK_VERSION_UNKNOWN"), Cause.MISMATCH),
        (explained(grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_MISMATCH"), Cause.MISMATCH),
        (explained(grpc.StatusCode.FAILED_PRECONDITION, "SEQUENCE_NOT_REACHED"), Cause.MISMATCH),
        (explained(grpc.StatusCode.INTERNAL, "INTERNAL"), Cause.ERROR),
        (failed(grpc.StatusCode.UNIMPLEMENTED), Cause.ERROR),
        (failed(grpc.StatusCode.RESOURCE_EXHAUSTED, b"\xffnot a status"), Cause.ERROR),
    ],
    ids=[
        "late",
        "unreachable",
        "stopping",
        "no model",
        "no store",
        "another playbook",
        "another schema",
        "too early",
        "defect",
        "no such RPC",
        "garbled status",
    ],
)
def test_every_failure_is_a_cause(read, error, expected):
    assert cause(read, error) is expected


def refusal(result, reason):
    return result(error=errors_pb2.ItemError(code=3, reason=reason))


@pytest.mark.parametrize("reason", [1, 0, 9_999])
def test_a_refused_item_is_an_error_even_for_a_reason_to_come(reason):
    assert cause(read_profile, profiles(refusal(profile_pb.ProfileResult, reason))) is Cause.ERROR
    answer = vectors()
    answer.results[0].CopyFrom(refusal(features_pb.FeatureResult, reason))
    assert cause(read_features, answer) is Cause.ERROR
    answer = scores(0.1, 0.2)
    answer.results[0].CopyFrom(refusal(scoring_pb.ScoreResult, reason))
    assert cause(score, answer) is Cause.ERROR
    answer = amounts()
    answer.results[0].CopyFrom(refusal(scoring_pb.ScoreContributionsResult, reason))
    assert cause(contributions, answer) is Cause.ERROR


@pytest.mark.parametrize("count", [0, 2])
def test_one_question_has_one_answer(count):
    assert cause(read_profile, profiles(*[found().results[0]] * count)) is Cause.ERROR
    answer = vectors()
    one = features_pb.FeatureResult.FromString(answer.results[0].SerializeToString())
    del answer.results[:]
    answer.results.extend([one] * count)
    assert cause(read_features, answer) is Cause.ERROR
    assert cause(score, scores(0.1, 0.2, results=count)) is Cause.ERROR
    assert cause(contributions, amounts(results=count)) is Cause.ERROR


def test_a_result_without_content_is_no_unknown_customer():
    assert cause(read_profile, profiles(profile_pb.ProfileResult())) is Cause.ERROR
    assert cause(score, scoring_pb.BatchScoreResponse(results=[scoring_pb.ScoreResult()])) is Cause.ERROR


def test_a_profile_of_nobody_in_particular_is_an_error():
    assert cause(read_profile, found(customer_id="")) is Cause.ERROR


def test_an_unknown_customer_is_not_found():
    assert not read_profile(profiles(profile_pb.ProfileResult(profile=profile_pb.Profile()))).found


def test_a_profile_is_asked_for_as_of_its_time():
    stub = Answering(found())
    read_profile(stub, as_of=NOW)
    read_profile(stub, key=CustomerKey(identity=("card", "4711")))
    (_, dry, timeout), (_, live, _) = stub.requests
    assert dry.as_of_time.ToDatetime(UTC) == NOW
    assert timeout == pytest.approx(0.5)
    assert not live.HasField("as_of_time")
    assert live.customers[0].identity == profile_pb.Identity(kind="card", value="4711")


def test_attributes_that_do_not_fit_their_declaration_are_missing():
    attributes = {
        "segment": "platinum",
        "age": None,
        "time_zone": "Asia/Tokyo",
        "shoe_size": 43,
    }
    answer = found(
        attributes={name: profile_pb.Attribute(value=json_value(raw)) for name, raw in attributes.items()}
    )
    assert read_profile(answer).attributes == {"time_zone": "Asia/Tokyo"}


def consent(state, **fields):
    return profile_pb.Consent(purpose="marketing", channel="email", state=state, **fields)


@pytest.mark.parametrize("state", [0, 2, 3, 17])
def test_only_granted_is_granted(state):
    assert read_profile(found(consents=[consent(state)])).permissions == {
        ("marketing", "email"): Permission(granted=False)
    }


def test_a_grant_keeps_its_expiry():
    expiry = NOW + timedelta(days=1)
    answer = found(consents=[consent(1, expire_time=instant(expiry))])
    assert read_profile(answer).permissions == {
        ("marketing", "email"): Permission(granted=True, expire_time=expiry)
    }


@pytest.mark.parametrize("stamp", [Timestamp(seconds=2**62), Timestamp(seconds=1, nanos=-1)], ids=str)
def test_an_unreadable_expiry_is_no_endless_grant(stamp):
    assert cause(read_profile, found(consents=[consent(1, expire_time=stamp)])) is Cause.ERROR


def test_features_are_named_in_the_order_of_the_playbook():
    stub = Answering(vectors())
    read = read_features(stub)
    assert list(read.customer) == list(feature_set().customer_names)
    assert list(read.customer.values())[:3] == NUMBERS[:3]
    assert read.candidates["wine-coupon"] == {"liking": 0.5}
    assert np.isnan(read.candidates["survey"]["liking"])
    assert (read.sequence, read.as_of) == (9, NOW)
    ((rpc, asked, _),) = stub.requests
    assert rpc == "BatchGetFeatures"
    assert asked.playbook_version == playbook().version
    assert asked.min_sequence == 5
    assert list(asked.customers[0].action_ids) == ACTIONS


def test_no_actions_have_no_candidate_features():
    assert read_features(vectors(candidates=b""), action_ids=[]).candidates == {}


def test_another_layout_of_features_is_a_mismatch():
    assert cause(read_features, vectors(fingerprint="0123456789abcdef")) is Cause.MISMATCH


@pytest.mark.parametrize(
    "garbled",
    [
        {"customer": NUMBERS[:3]},
        {"customer": [*NUMBERS, 5.0]},
        {"customer": b"\0" * 31},
        {"customer": [1.0, 2.0, float("inf"), 3.0]},
        {"ages": []},
        {"ages": [1.0, 2.0, 3.0, -1.0]},
        {"ages": [1.0, 2.0, 3.0, float("inf")]},
        {"ages": [1.0, 2.0, 3.0, 1e300]},
        {"candidates": [0.5]},
        {"candidates": [0.5, 0.5, 0.5]},
        {"candidates": [0.5, float("-inf")]},
        {"candidates": b"\0"},
    ],
    ids=str,
)
def test_garbled_features_are_an_error(garbled):
    assert cause(read_features, vectors(**garbled)) is Cause.ERROR


def test_scores_come_in_the_candidates_order():
    stub = Answering(scores(0.25, 1.0))
    read = score(stub)
    assert read.propensities == (0.25, 1.0)
    assert read.model_version == "3"
    ((rpc, asked, _),) = stub.requests
    assert rpc == "BatchScore"
    assert asked.items[0].candidates == 2
    assert np.frombuffer(asked.items[0].candidate_vectors, "<f8")[1] == pytest.approx(10.0)


@pytest.mark.parametrize(
    "garbled",
    [(), (0.5,), (0.5, 0.5, 0.5), (0.5, float("nan")), (0.5, 1.1), (-0.1, 0.5), (0.5, float("inf"))],
    ids=str,
)
def test_garbled_scores_are_an_error(garbled):
    assert cause(score, scores(*garbled)) is Cause.ERROR


def test_contributions_are_asked_of_the_model_that_made_the_scores():
    stub = Answering(amounts())
    assert contributions(stub).tolist() == [list(range(7)), list(range(7, 14))]
    ((rpc, asked, timeout),) = stub.requests
    assert (rpc, timeout) == ("ExplainScores", 0.5)
    assert (asked.model_version, asked.schema_fingerprint) == ("1", model().fingerprint)
    (item,) = asked.items
    assert item.candidates == 2
    assert np.frombuffer(item.candidate_vectors, "<f8")[1] == pytest.approx(10.0)


def test_contributions_to_another_models_scores_are_a_mismatch():
    assert cause(contributions, amounts(version="2")) is Cause.MISMATCH


@pytest.mark.parametrize(
    "garbled",
    [
        (),
        (0.5,) * 7,
        (0.5,) * 13,
        (0.5,) * 21,
        (*(0.5,) * 13, float("nan")),
        (*(0.5,) * 13, float("inf")),
        b"\0",
    ],
    ids=str,
)
def test_garbled_contributions_are_an_error(garbled):
    assert cause(contributions, amounts(garbled)) is Cause.ERROR


def described(**changes):
    one = model()
    fields = {
        "model_version": one.version,
        "schema_fingerprint": one.fingerprint,
        "features": [
            scoring_pb.ModelFeature(name=name, definition_hash=digest, candidate=candidate)
            for name, digest, candidate in one.layout
        ],
        "priors": one.priors,
        "overall_prior": one.overall_prior,
    }
    return scoring_pb.GetModelResponse(**(fields | changes))


def test_a_model_is_described():
    assert describe(described()) == model()


@pytest.mark.parametrize(
    "changes",
    [
        {"overall_prior": float("nan")},
        {"overall_prior": 1.5},
        {"priors": {"offers": -0.1}},
        {"priors": {"offers": float("nan")}},
    ],
    ids=str,
)
def test_priors_are_probabilities(changes):
    assert cause(describe, described(**changes)) is Cause.ERROR


@given(st.binary(max_size=200))
def test_no_bytes_are_a_defect(garbage):
    for read, message in (
        (read_profile, profile_pb.BatchGetProfilesResponse()),
        (read_features, features_pb.BatchGetFeaturesResponse()),
        (score, scoring_pb.BatchScoreResponse()),
        (contributions, scoring_pb.ExplainScoresResponse()),
    ):
        with suppress(DecodeError, Unavailable):
            message.ParseFromString(garbage)
            read(message)


def test_times_are_exact_to_the_microsecond():
    moment = datetime(2025, 5, 14, 9, 30, 0, 123_456, tzinfo=UTC)
    stub = Answering(found())
    read_profile(stub, as_of=moment)
    assert stub.requests[0][1].as_of_time.nanos == 123_456_000
