import asyncio
from datetime import UTC, datetime

import learned
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.scoring.adapters.lightgbm_booster import LightgbmBooster
from services.scoring.fakes import InMemoryRegistry
from services.scoring.follower import ModelFollower
from services.scoring.metrics import ScoringMetrics

LOAD_TIME = datetime(2018, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    found = {}
    for name, seed in (("first", 1), ("second", 2)):
        folder = tmp_path_factory.mktemp(name)
        learned.bundle(folder / "bundle", learned.dataset(folder / "data", seed=seed))
        found[name] = learned.files(folder / "bundle")
    found["bad"] = found["second"] | {"model.txt": found["second"]["model.txt"][:-1000]}
    return found


class Setting:
    def __init__(self, load_booster=LightgbmBooster):
        self.models = InMemoryRegistry()
        self.registry = CollectorRegistry()
        self.follower = ModelFollower(
            self.models, load_booster, ScoringMetrics(self.registry), lambda: LOAD_TIME, "the alias champion"
        )

    def look(self):
        asyncio.run(self.follower.look())

    @property
    def version(self):
        return self.follower.served and self.follower.served.reference.version

    def metric(self, name, **labels):
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def setting():
    return Setting()


def test_without_a_champion_nothing_is_served(setting):
    setting.look()
    assert setting.version is None
    assert setting.follower.why_none == "no model behind the alias champion yet"


def test_a_good_champion_is_served(setting, bundles):
    reference = setting.models.promote("1", bundles["first"])
    setting.look()
    assert setting.follower.served.reference == reference
    assert setting.follower.served.load_time == LOAD_TIME
    assert setting.metric("tact_scoring_model_info", model_name="tact-test", model_version="1") == 1
    assert setting.metric("tact_scoring_model_load_seconds") > 0


def test_a_served_version_is_fetched_once(setting, bundles):
    setting.models.promote("1", bundles["first"])
    for _ in range(3):
        setting.look()
    assert len(setting.models.fetched) == 1


def test_a_new_version_takes_over_and_old_requests_keep_theirs(setting, bundles):
    setting.models.promote("1", bundles["first"])
    setting.look()
    before = setting.follower.served.model
    matrix = np.random.default_rng(0).normal(size=(20, len(learned.FEATURES)))
    scores = before.scores(matrix)
    setting.models.promote("2", bundles["second"])
    setting.look()
    assert setting.version == "2"
    np.testing.assert_array_equal(before.scores(matrix), scores)
    assert not np.allclose(setting.follower.served.model.scores(matrix), scores)
    assert setting.metric("tact_scoring_model_info", model_name="tact-test", model_version="2") == 1
    assert setting.metric("tact_scoring_model_info", model_name="tact-test", model_version="1") is None


def test_a_bad_version_is_refused_once_and_the_old_one_stays(setting, bundles):
    setting.models.promote("1", bundles["first"])
    setting.look()
    setting.models.promote("2", bundles["bad"])
    for _ in range(3):
        setting.look()
    assert setting.version == "1"
    assert len(setting.models.fetched) == 2
    assert setting.metric("tact_scoring_model_refused_total", cause="checksum") == 1
    refused = setting.follower.refused
    assert (refused.reference.version, refused.cause) == ("2", "checksum")
    setting.models.promote("3", bundles["second"])
    setting.look()
    assert setting.version == "3"
    assert setting.follower.refused is None


def test_a_refused_version_is_tried_again_once_the_alias_was_elsewhere(setting, bundles):
    setting.models.promote("1", bundles["first"])
    setting.look()
    setting.models.promote("2", bundles["bad"])
    setting.look()
    setting.models.promote("1", bundles["first"])
    setting.look()
    assert setting.follower.refused is None
    setting.models.promote("2", bundles["second"])
    setting.look()
    assert setting.version == "2"


def test_a_bad_first_version_says_why_nothing_is_served(setting, bundles):
    setting.models.promote("1", bundles["bad"])
    setting.look()
    assert setting.version is None
    assert setting.follower.why_none == (
        "version 1 of tact-test was refused: model.txt is not the file that was written"
    )


def test_a_registry_out_of_reach_changes_nothing(setting, bundles):
    setting.models.promote("1", bundles["first"])
    setting.look()
    setting.models.failure = "no route"
    setting.look()
    setting.look()
    assert setting.version == "1"
    assert setting.metric("tact_scoring_registry_errors_total") == 2
    setting.models.failure = None
    setting.models.promote("2", bundles["second"])
    setting.look()
    assert setting.version == "2"


def test_a_registry_out_of_reach_from_the_start_is_said(setting):
    setting.models.failure = "no route"
    setting.look()
    assert setting.follower.why_none == "the registry of the alias champion is out of reach"


def test_a_check_that_breaks_is_a_refusal(bundles):
    def explode(text):
        raise RuntimeError("a defect")

    setting = Setting(explode)
    setting.models.promote("1", bundles["first"])
    setting.look()
    setting.look()
    assert setting.metric("tact_scoring_model_refused_total", cause="defect") == 1
    assert len(setting.models.fetched) == 1


def test_warm_up_waits_for_the_first_look_and_never_raises(setting, bundles):
    setting.models.promote("1", bundles["first"])

    async def start():
        following = asyncio.create_task(setting.follower.follow(poll_seconds=3600))
        await setting.follower.warm_up(patience_seconds=60)
        following.cancel()
        await asyncio.wait({following})

    asyncio.run(start())
    assert setting.version == "1"


def test_warm_up_ends_without_an_answer(setting):
    asyncio.run(setting.follower.warm_up(patience_seconds=0.01))
    assert setting.version is None


def test_following_outlives_a_defect_of_the_registry(setting, bundles):
    class Defect:
        looks = 0

        async def champion(self):
            self.looks += 1
            if self.looks == 1:
                raise ZeroDivisionError
            return await setting.models.champion()

        async def fetch(self, reference):
            return await setting.models.fetch(reference)

    setting.models.promote("1", bundles["first"])
    follower = ModelFollower(
        Defect(), LightgbmBooster, ScoringMetrics(CollectorRegistry()), lambda: LOAD_TIME, "the alias"
    )

    async def follow():
        following = asyncio.create_task(follower.follow(poll_seconds=0))
        async with asyncio.timeout(60):
            while follower.served is None:  # noqa: ASYNC110 - the follower itself announces nothing
                await asyncio.sleep(0)
        following.cancel()
        await asyncio.wait({following})

    asyncio.run(follow())
    assert follower.served.reference.version == "1"
