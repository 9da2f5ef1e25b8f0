import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from deciding import DOWN, Shop, feature_set, model, playbook, request

from services.chassis.editions import Editions
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.publishing import publish
from services.engine.playbook.store import Store
from services.gateway.domain.knowledge import Cause, Unavailable
from services.gateway.library import Library
from services.gateway.rollout import Rollout, are_the_same
from tests.playbooks import load_playbook, write_playbook

NOW = datetime(2025, 5, 14, tzinfo=UTC)
PATIENCE_SECONDS = 20.0
BEHIND = Unavailable(Cause.MISMATCH, "PLAYBOOK_VERSION_UNKNOWN")


class Rolling:
    """A shop whose gateway is given another playbook, called newer, which differs by its version only."""

    def __init__(self, patience_seconds=PATIENCE_SECONDS):
        self.shop = Shop()
        self.newer = replace(playbook(), version="newer")
        self.seen = []
        self.rollout = Rollout(
            editions=self.shop.editions,
            make=lambda playbook: replace(self.shop.editions.current, playbook=playbook),
            observe=self.seen.append,
            patience_seconds=patience_seconds,
        )

    async def version(self):
        answer = await self.shop.deciding(request(mode="DECISION_MODE_LIVE"))
        return answer.playbook_version


def test_a_playbook_that_features_knows_is_taken_at_once():
    async def main():
        rolling = Rolling()
        assert await rolling.version() == playbook().version
        await rolling.rollout.take(rolling.newer)
        assert await rolling.version() == "newer"
        assert rolling.seen == [rolling.newer]

    asyncio.run(main())


@pytest.mark.parametrize("failure", [BEHIND, DOWN])
def test_the_one_before_decides_until_features_knows_the_next(failure):
    async def main():
        rolling = Rolling()
        rolling.shop.features.failure = failure
        taking = asyncio.create_task(rolling.rollout.take(rolling.newer))
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert await rolling.version() == playbook().version
        assert rolling.seen == []
        rolling.shop.features.failure = None
        await asyncio.wait_for(taking, PATIENCE_SECONDS)
        assert await rolling.version() == "newer"

    asyncio.run(main())


def test_patience_ends_and_the_playbook_binds(caplog):
    async def main():
        rolling = Rolling(patience_seconds=0.15)
        rolling.shop.features.failure = BEHIND
        await asyncio.wait_for(rolling.rollout.take(rolling.newer), PATIENCE_SECONDS)
        return rolling, await rolling.version()

    rolling, version = asyncio.run(main())
    assert version == "newer"
    assert rolling.seen == [rolling.newer]
    (told,) = [record for record in caplog.records if record.name == "tact.gateway"]
    assert told.getMessage() == "features does not serve the playbook"
    assert told.fields == {"version": "newer", "cause": "mismatch", "detail": BEHIND.detail}


def test_a_model_that_does_not_fit_is_told_and_holds_up_nothing(caplog):
    async def main():
        rolling = Rolling()
        rolling.shop.scorer.model = model(layout=(("gone", "0", False),))
        await rolling.rollout.take(rolling.newer)
        return await rolling.version()

    assert asyncio.run(main()) == "newer"
    (told,) = [record for record in caplog.records if record.name == "tact.gateway"]
    assert told.getMessage() == "scoring does not serve the playbook"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ((), True),
        (("policies", "suitability", []), True),
        (("playbook", "threshold", 3.0), True),
        (("features", "features", "more", {"kind": "count", "event": "order"}), False),
        (("features", "features", "orders_30d", "window", "31d"), False),
        (("actions", "actions", "sale", "attributes", "categories", "shoes", 0.5), False),
    ],
)
def test_last_good_features_are_kept_only_where_they_mean_the_same(tmp_path, change, same):
    before = load_playbook(tmp_path / "before")
    after = load_playbook(tmp_path / "after", *([change] if change else []))
    handler = replace(Shop().editions.current, playbook=before, feature_set=FeatureSet(before))
    assert are_the_same(handler, after, FeatureSet(after)) is same


class TestLibrary:
    @pytest.fixture
    def store(self, tmp_path):
        return Store(tmp_path / "store")

    def library(self, store):
        handler = replace(Shop().editions.current, playbook=playbook(), feature_set=feature_set())
        return Library(Editions(playbook().version, handler), store)

    def test_what_is_in_use_is_found_without_the_store(self):
        found = asyncio.run(self.library(None).edition(playbook().version))
        assert found == (playbook(), feature_set())

    def test_what_was_published_is_found_and_loaded_once(self, store, tmp_path):
        version = publish(store, write_playbook(tmp_path / "one"), NOW).version
        library = self.library(store)
        found = asyncio.run(library.edition(version))
        assert found.playbook.version == version
        assert found.feature_set.version == FeatureSet(found.playbook).version
        assert asyncio.run(library.edition(version)) is found

    def test_what_was_never_published_or_is_damaged_is_not_found(self, store, tmp_path):
        version = publish(store, write_playbook(tmp_path / "one"), NOW).version
        (store.folder_of(version) / "events.yaml").unlink()
        for asked in (version, "0" * 64, "", "../one"):
            assert asyncio.run(self.library(store).edition(asked)) is None
        assert asyncio.run(self.library(None).edition(version)) is None
