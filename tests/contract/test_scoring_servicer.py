"""The scoring service over a real channel and in process: the same answers and errors."""

import asyncio
import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import grpc
import learned
import lightgbm
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from tact.errors.v1 import errors_pb2
from tact.scoring.v1 import scoring_service_pb2 as pb

from services.chassis.clients import GrpcStub, channel
from services.chassis.faults import error_info
from services.chassis.inprocess import InProcessStub
from services.chassis.rpc import Service
from services.chassis.server import serving
from services.chassis.settings import ServiceSettings
from services.scoring.adapters.lightgbm_booster import LightgbmBooster
from services.scoring.fakes import InMemoryRegistry
from services.scoring.follower import ModelFollower
from services.scoring.handlers import ScoringHandlers
from services.scoring.metrics import ScoringMetrics
from services.scoring.servicer import ScoringServicer

SCORING = pb.DESCRIPTOR.services_by_name["ScoringService"]
LOAD_TIME = datetime(2018, 1, 2, tzinfo=UTC)
PATIENCE_SECONDS = 20.0
INLINE_ROWS = 50


@contextlib.asynccontextmanager
async def wire(service):
    listener = ServiceSettings(port=0, metrics_port=0).listener
    async with (
        serving(service, listener) as running,
        channel(f"127.0.0.1:{running.port}", SCORING) as opened,
    ):
        yield GrpcStub(opened, SCORING, PATIENCE_SECONDS)


@contextlib.asynccontextmanager
async def in_process(service):
    await service.warm_up()
    yield InProcessStub(service, PATIENCE_SECONDS)


@pytest.fixture(params=[wire, in_process])
def connect(request):
    return request.param


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    found = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp("learned")
        learned.bundle(folder / "bundle", learned.dataset(folder / "data", seed=seed))
        found.append(learned.files(folder / "bundle"))
    return found


class Setting:
    """The scoring service on a registry in memory; ``ask`` runs ``main(stub)`` against it."""

    def __init__(self, connect):
        self.models = InMemoryRegistry()
        self.registry = CollectorRegistry()
        self.load_booster = LightgbmBooster
        self._connect = connect

    def ask(self, main):
        async def bounded():
            async with asyncio.timeout(PATIENCE_SECONDS):
                metrics = ScoringMetrics(self.registry)
                self.follower = ModelFollower(
                    self.models,
                    self.load_booster,
                    metrics,
                    lambda: LOAD_TIME,
                    "the alias champion of tact-test",
                )
                with ThreadPoolExecutor(1) as executor:
                    handlers = ScoringHandlers(self.follower, executor, INLINE_ROWS, metrics)
                    service = Service(
                        name="scoring",
                        descriptor=SCORING,
                        servicer=ScoringServicer(handlers),
                        registry=self.registry,
                        warm_up=self.follower.look,
                        ready=handlers.is_ready,
                    )
                    async with self._connect(service) as stub:
                        return await main(stub)

        return asyncio.run(bounded())


@pytest.fixture
def setting(connect):
    return Setting(connect)


@pytest.fixture
def served(setting, bundles):
    setting.models.promote("1", bundles[0])
    return setting


def matrix(rows, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, len(learned.FEATURES)))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, :3] = values[:1, :3]
    return values


def item(values):
    values = values.astype("<f8")
    customer = values[0, :3] if len(values) else np.zeros(3)
    return pb.ScoreItem(
        customer_vector=customer.tobytes(), candidate_vectors=values[:, 3:].tobytes(), candidates=len(values)
    )


async def request(stub, *items):
    model = await stub.GetModel(pb.GetModelRequest())
    return pb.BatchScoreRequest(items=items, schema_fingerprint=model.schema_fingerprint)


def expected_scores(files, values):
    booster = lightgbm.Booster(model_str=files["model.txt"].decode())
    calibration = json.loads(files["manifest.json"])["calibration"]
    raw = booster.predict(values, raw_score=True)
    return 1 / (1 + np.exp(-(calibration["slope"] * raw + calibration["intercept"])))


async def explanation(stub, *items, model_version=""):
    model = await stub.GetModel(pb.GetModelRequest())
    return pb.ExplainScoresRequest(
        items=items, schema_fingerprint=model.schema_fingerprint, model_version=model_version
    )


def contributions(result):
    numbers = np.frombuffer(result.contributions.contributions, "<f8")
    return numbers.reshape(-1, len(learned.FEATURES) + 1)


def failure(setting, main):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        setting.ask(main)
    return caught.value


@pytest.mark.parametrize("rows", [1, INLINE_ROWS, INLINE_ROWS + 1, 3000])
def test_scores_are_those_of_the_model(served, bundles, rows):
    values = matrix(rows)

    async def main(stub):
        return await stub.BatchScore(await request(stub, item(values)))

    response = served.ask(main)
    np.testing.assert_allclose(
        response.results[0].scores.propensities, expected_scores(bundles[0], values), rtol=0, atol=1e-12
    )
    assert response.model_version == "1"
    where = "inline" if rows <= INLINE_ROWS else "executor"
    counted = served.registry.get_sample_value("tact_scoring_predict_seconds_count", {"where": where})
    assert counted == 1
    assert served.registry.get_sample_value("tact_scoring_rows_sum") == rows


def test_items_are_answered_in_order_and_apart(served, bundles):
    parts = [matrix(rows, seed=rows) for rows in (3, 0, 7, 1)]
    wrong_length = pb.ScoreItem(customer_vector=b"123", candidate_vectors=bytes(16), candidates=1)
    infinite = item(np.array([[np.inf, 0, 0, 0, -np.inf]]))
    negative = pb.ScoreItem(customer_vector=bytes(24), candidates=-1)

    async def main(stub):
        items = [item(parts[0]), wrong_length, item(parts[1]), infinite, *map(item, parts[2:]), negative]
        return await stub.BatchScore(await request(stub, *items))

    results = served.ask(main).results
    kinds = [result.WhichOneof("result") for result in results]
    assert kinds == ["scores", "error", "scores", "error", "scores", "scores", "error"]
    for position, part in zip((0, 2, 4, 5), parts, strict=True):
        scores = expected_scores(bundles[0], part) if len(part) else []
        np.testing.assert_allclose(results[position].scores.propensities, scores, rtol=0, atol=1e-12)
    fields = [[violation.field for violation in results[n].error.field_violations] for n in (1, 3, 6)]
    assert fields == [["customer_vector"], ["customer_vector", "candidate_vectors"], ["candidates"]]
    for position in (1, 3, 6):
        error = results[position].error
        assert error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert error.reason == errors_pb2.ERROR_REASON_REQUEST_INVALID
    assert served.registry.get_sample_value("tact_scoring_invalid_items_total") == 3


def test_an_empty_batch_is_an_empty_answer(served):
    async def main(stub):
        return await stub.BatchScore(await request(stub))

    response = served.ask(main)
    assert (len(response.results), response.model_version) == (0, "1")


def test_contributions_are_those_of_lightgbm_and_sum_to_the_score_before_calibration(served, bundles):
    parts = [matrix(rows, seed=rows) for rows in (3, 0, 40, 1)]

    async def main(stub):
        return await stub.ExplainScores(await explanation(stub, *map(item, parts), model_version="1"))

    response = served.ask(main)
    assert response.model_version == "1"
    booster = lightgbm.Booster(model_str=bundles[0]["model.txt"].decode())
    for result, part in zip(response.results, parts, strict=True):
        found = contributions(result)
        assert len(found) == len(part)
        if len(part):
            expected = booster.predict(part, pred_contrib=True)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
            raw = booster.predict(part, raw_score=True)
            np.testing.assert_allclose(found.sum(axis=1), raw, rtol=0, atol=1e-9)


@pytest.mark.parametrize("items", [[], [item(matrix(0))], [pb.ScoreItem(candidates=-1)]])
def test_where_there_is_nothing_to_explain_nothing_is(served, items):
    async def main(stub):
        return await stub.ExplainScores(await explanation(stub, *items))

    response = served.ask(main)
    assert response.model_version == "1"
    assert [result.contributions.contributions for result in response.results] == [b""] * len(items)


def test_items_are_explained_apart(served, bundles):
    good = matrix(2)
    wrong_length = pb.ScoreItem(customer_vector=b"123", candidate_vectors=bytes(16), candidates=1)
    infinite = item(np.array([[np.inf, 0, 0, 0, -np.inf]]))

    async def main(stub):
        return await stub.ExplainScores(await explanation(stub, wrong_length, item(good), infinite))

    first, second, third = served.ask(main).results
    assert len(contributions(second)) == 2
    for result, fields in ((first, ["customer_vector"]), (third, ["customer_vector", "candidate_vectors"])):
        assert result.error.reason == errors_pb2.ERROR_REASON_REQUEST_INVALID
        assert [violation.field for violation in result.error.field_violations] == fields


def test_scores_of_another_model_version_cannot_be_explained(served):
    async def main(stub):
        await stub.ExplainScores(await explanation(stub, model_version="7"))

    error = failure(served, main)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == "model version 7 is not the one served, 1"
    assert error_info(error).reason == "SCHEMA_MISMATCH"
    assert error_info(error).metadata["model_version"] == "1"


def test_explanations_keep_no_score_waiting_and_too_many_are_refused(served):
    released = threading.Event()

    class Held(LightgbmBooster):
        def contributions(self, matrix):
            assert released.wait(PATIENCE_SECONDS)
            return super().contributions(matrix)

    async def main(stub):
        asked = await explanation(stub, item(matrix(3)))
        calls = [asyncio.ensure_future(stub.ExplainScores(asked)) for _ in range(9)]
        try:
            (refused,), waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for rows in (5, INLINE_ROWS + 1):
                scored = await stub.BatchScore(await request(stub, item(matrix(rows))))
                assert len(scored.results[0].scores.propensities) == rows
        finally:
            released.set()
        return refused.exception(), await asyncio.gather(*waiting)

    served.load_booster = Held
    refused, answered = served.ask(main)
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_info(refused).reason == "OVERLOADED"
    assert {len(contributions(answer.results[0])) for answer in answered} == {3}


def test_the_model_describes_itself(served, bundles):
    async def main(stub):
        return await stub.GetModel(pb.GetModelRequest())

    model = served.ask(main)
    manifest = json.loads(bundles[0]["manifest.json"])
    assert (model.model_name, model.model_version, model.run_id) == ("tact-test", "1", "run-1")
    assert model.schema_fingerprint == manifest["schema_fingerprint"]
    found = [(feature.name, feature.definition_hash, feature.candidate) for feature in model.features]
    assert found == [(f.name, f.definition_hash, f.candidate) for f in learned.FEATURES]
    assert dict(model.priors) == manifest["priors"]
    assert model.overall_prior == manifest["overall_prior"]
    assert model.playbook_version == "playbook-1"
    assert model.load_time.ToDatetime(UTC) == LOAD_TIME
    assert not model.HasField("refused")


def test_a_refused_champion_is_named_beside_the_model_that_stays(served, bundles):
    async def main(stub):
        cut = {"model.txt": bundles[1]["model.txt"][:-1000]}
        served.models.promote("2", bundles[1] | cut)
        await served.follower.look()
        refused = await stub.GetModel(pb.GetModelRequest())
        served.models.promote("1", bundles[0])
        await served.follower.look()
        return refused, await stub.GetModel(pb.GetModelRequest())

    model, after = served.ask(main)
    assert model.model_version == after.model_version == "1"
    assert (model.refused.model_version, model.refused.cause) == ("2", "checksum")
    assert model.refused.detail == "model.txt is not the file that was written"
    assert not after.HasField("refused")


@pytest.mark.parametrize("rpc", ["BatchScore", "ExplainScores"])
def test_another_layout_is_refused(served, bundles, rpc):
    async def main(stub):
        await getattr(stub, rpc)(getattr(pb, f"{rpc}Request")(schema_fingerprint="9c2e"))

    error = failure(served, main)
    expected = json.loads(bundles[0]["manifest.json"])["schema_fingerprint"]
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == f"schema 9c2e is not the model's {expected}"
    assert error_info(error).reason == "SCHEMA_MISMATCH"
    assert error_info(error).metadata["schema_fingerprint"] == expected


@pytest.mark.parametrize(
    ("rpc", "items", "candidates", "details"),
    [
        ("BatchScore", 1001, 0, "items: 1001 items, at most 1000"),
        ("BatchScore", 2, 50_001, "items.candidates: 100002 items, at most 100000"),
        ("ExplainScores", 101, 0, "items: 101 items, at most 100"),
        ("ExplainScores", 7, 143, "items.candidates: 1001 items, at most 1000"),
    ],
)
def test_an_oversized_batch_is_refused(served, rpc, items, candidates, details):
    too_many = getattr(pb, f"{rpc}Request")(items=[pb.ScoreItem(candidates=candidates)] * items)

    async def main(stub):
        await getattr(stub, rpc)(too_many)

    error = failure(served, main)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == details
    assert error_info(error).reason == "BATCH_TOO_LARGE"


@pytest.mark.parametrize("rpc", ["BatchScore", "ExplainScores", "GetModel"])
def test_without_a_model_the_service_says_so(setting, rpc):
    async def main(stub):
        await getattr(stub, rpc)(getattr(pb, f"{rpc}Request")())

    error = failure(setting, main)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == "no model behind the alias champion of tact-test yet"
    assert error_info(error).reason == "MODEL_NOT_READY"


def test_a_new_champion_takes_over_between_calls(served, bundles):
    values = matrix(5)

    async def main(stub):
        batch = await request(stub, item(values))
        before = await stub.BatchScore(batch)
        served.models.promote("2", bundles[1])
        await served.follower.look()
        return before, await stub.BatchScore(batch)

    for response, version, files in zip(served.ask(main), ("1", "2"), bundles, strict=True):
        assert response.model_version == version
        np.testing.assert_allclose(
            response.results[0].scores.propensities, expected_scores(files, values), rtol=0, atol=1e-12
        )


def test_a_batch_keeps_the_model_it_began_with(served, bundles):
    values = matrix(60_000)

    async def main(stub):
        batch = await request(stub, item(values))
        scoring = asyncio.ensure_future(stub.BatchScore(batch, timeout=PATIENCE_SECONDS))
        await asyncio.sleep(0)
        served.models.promote("2", bundles[1])
        await served.follower.look()
        return await scoring

    response = served.ask(main)
    files = bundles[int(response.model_version) - 1]
    np.testing.assert_allclose(
        response.results[0].scores.propensities, expected_scores(files, values), rtol=0, atol=1e-12
    )
