"""The scoring service follows a real MLflow registry on SQLite."""

import asyncio
import contextlib
import shutil
import sqlite3
from pathlib import Path

import grpc
import learned
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from tact.scoring.v1 import scoring_service_pb2 as pb

from services.chassis.inprocess import InProcessStub
from services.scoring.adapters.mlflow_registry import MlflowRegistry
from services.scoring.app import open_service
from services.scoring.ports import RegistryUnavailable
from services.scoring.settings import ScoringSettings
from training.bundle.reader import read_bundle
from training.jobs import promote, train
from training.jobs.promote import PromoteConfig
from training.jobs.tracking import tracking
from training.jobs.train import TrainConfig

MODEL = "served"
PATIENCE_SECONDS = 60.0


class Home:
    """A home folder with data to learn from."""

    def __init__(self, folder):
        self.folder = folder
        self.settings = ScoringSettings(
            TACT_HOME=folder, model_name=MODEL, poll_seconds=0.01, port=0, metrics_port=0
        )
        self.uri = self.settings.registry_uri
        self.versions = []
        learned.dataset(folder / "train", 600)
        learned.dataset(folder / "later", 400, seed=5, first_day=220, days=60)

    def train(self):
        config = TrainConfig(
            dataset=self.folder / "train",
            model_name=MODEL,
            outcome="coupon_redeemed",
            tracking_uri=self.uri,
            **dict(learned.FAST),
        )
        self.versions.append(train.run(config, now=learned.NOW))
        return self.versions[-1]

    def promote(self):
        config = PromoteConfig(
            dataset=self.folder / "later", model_name=MODEL, by="tests", tracking_uri=self.uri, resamples=100
        )
        assert promote.run(config, now=learned.NOW).promoted

    def set_alias(self, version):
        with tracking(self.uri) as client:
            client.set_registered_model_alias(MODEL, "champion", version)

    def bundle(self, position):
        return Path(self.versions[position].bundle_uri.removeprefix("file://"))

    def registry(self, uri=None):
        return MlflowRegistry(uri or self.uri, MODEL, "champion")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("trained"))
    home.train()
    return home


def ask(registry):
    with registry:
        return asyncio.run(registry.champion())


@pytest.mark.parametrize("content", [None, "CREATE TABLE alembic_version (version_num TEXT)"])
def test_a_store_that_is_not_made_yet_is_left_alone(tmp_path, content):
    path = tmp_path / "mlflow.db"
    if content:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(content)
    before = path.read_bytes() if content else None
    assert ask(MlflowRegistry(f"sqlite:///{path}", MODEL, "champion")) is None
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_model_without_the_alias_has_no_champion(trained):
    assert ask(MlflowRegistry(trained.uri, MODEL, "challenger")) is None
    assert ask(MlflowRegistry(trained.uri, "nobody", "champion")) is None


def test_the_champion_and_its_files_come_from_the_registry(trained):
    trained.set_alias("1")

    async def main(registry):
        reference = await registry.champion()
        return reference, await registry.fetch(reference)

    with trained.registry() as registry:
        reference, files = asyncio.run(main(registry))
    assert (reference.name, reference.version) == (MODEL, "1")
    assert reference.run_id == trained.versions[0].run_id
    assert files == learned.files(trained.bundle(0))


def test_artifacts_that_are_gone_are_out_of_reach(trained, tmp_path):
    trained.set_alias("1")
    shutil.copytree(trained.bundle(0), tmp_path / "kept")
    shutil.rmtree(trained.bundle(0))

    async def main(registry):
        await registry.fetch(await registry.champion())

    try:
        with trained.registry() as registry, pytest.raises(RegistryUnavailable):
            asyncio.run(main(registry))
    finally:
        shutil.copytree(tmp_path / "kept", trained.bundle(0))


def test_a_server_that_does_not_answer_is_out_of_reach(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryUnavailable) as caught:
        ask(MlflowRegistry("http://jane:secret@127.0.0.1:9", MODEL, "champion"))
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_out_of_reach(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(RegistryUnavailable):
        ask(MlflowRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", MODEL, "champion"))


async def until(condition):
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in MLflow
            await asyncio.sleep(0.01)


def test_the_service_starts_empty_and_takes_over_what_is_promoted(tmp_path):
    home = Home(tmp_path)

    async def main():
        async with open_service(home.settings) as service:
            stub = InProcessStub(service, PATIENCE_SECONDS)
            sample = service.registry.get_sample_value
            await service.warm_up()
            assert not service.ready()
            with pytest.raises(
                grpc.aio.AioRpcError, match="no model behind the alias champion of served yet"
            ):
                await stub.GetModel(pb.GetModelRequest())

            await asyncio.to_thread(home.train)
            await asyncio.to_thread(home.promote)
            await until(service.ready)
            model = await stub.GetModel(pb.GetModelRequest())
            assert (model.model_version, model.run_id) == ("1", home.versions[0].run_id)
            await scores_as_trained(stub, model, home.bundle(0))

            await asyncio.to_thread(home.train)
            (home.bundle(1) / "model.txt").write_bytes((home.bundle(1) / "model.txt").read_bytes()[:-100])
            await asyncio.to_thread(home.set_alias, "2")
            await until(lambda: sample("tact_scoring_model_refused_total", {"cause": "checksum"}))
            assert (await stub.GetModel(pb.GetModelRequest())).model_version == "1"
            await scores_as_trained(stub, model, home.bundle(0))

            shutil.move(tmp_path / "mlflow" / "mlflow.db", tmp_path / "mlflow" / "away.db")
            (tmp_path / "mlflow" / "mlflow.db").write_bytes(b"no database" * 1000)
            await until(lambda: sample("tact_scoring_registry_errors_total"))
            assert service.ready()
            shutil.move(tmp_path / "mlflow" / "away.db", tmp_path / "mlflow" / "mlflow.db")

            await asyncio.to_thread(home.train)
            await asyncio.to_thread(home.set_alias, "3")
            await until(
                lambda: sample("tact_scoring_model_info", {"model_name": MODEL, "model_version": "3"})
            )
            assert sample("tact_scoring_model_refused_total", {"cause": "checksum"}) == 1

    asyncio.run(main())


async def scores_as_trained(stub, model, folder):
    rows = np.random.default_rng(0).normal(size=(30, len(learned.FEATURES)))
    rows[:, :3] = rows[0, :3]
    item = pb.ScoreItem(
        customer_vector=rows[0, :3].tobytes(), candidate_vectors=rows[:, 3:].tobytes(), candidates=30
    )
    response = await stub.BatchScore(
        pb.BatchScoreRequest(items=[item], schema_fingerprint=model.schema_fingerprint)
    )
    found = MessageToDict(response)["results"][0]["scores"]["propensities"]
    np.testing.assert_allclose(found, read_bundle(folder).scores(rows), rtol=0, atol=1e-9)


def test_a_service_started_after_promotion_is_ready_once_warm(trained):
    trained.set_alias("1")

    async def main():
        async with open_service(trained.settings) as service:
            await service.warm_up()
            return service.ready()

    assert asyncio.run(main())
