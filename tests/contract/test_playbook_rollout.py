"""Playbooks change while real services decide, all in this process."""

import asyncio
import contextlib
import logging
import random
import re
from datetime import UTC, datetime

import grpc
import pytest
import remote
from deciding import FILES, chosen, request, served_by
from tact.decision.v1 import decision_service_pb2 as decision_pb
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from worlds import CUSTOMERS, NOON, PATIENCE_SECONDS, Current, Together, populate

from services.chassis.faults import error_info
from services.chassis.inprocess import InProcessStub
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.loader import load
from services.engine.playbook.publishing import publish, rollback
from services.engine.playbook.store import Store
from services.features import app as features_app
from services.features.settings import FeatureSettings
from services.gateway import app as gateway_app
from services.gateway.settings import GatewaySettings
from services.profile import app as profile_app
from services.profile.settings import ProfileSettings

NOW = datetime(2025, 5, 14, tzinfo=UTC)
VERSIONS = range(1, 6)
SURVEY = ("survey", "question")
"""A treatment that stays only where a feature of the very version is known."""


def write(folder, number):
    """Write a version of the shop: a feature, a rule on it, a measure, an identity and texts are its own."""
    changed = dict(FILES)
    feature = f"count_{number}: {{ kind: count, event: purchase, window: {number}d }}"
    changed["features.yaml"] = re.sub(r"( +)(spend_30d:)", rf"\1{feature}\n\1\2", changed["features.yaml"])
    changed["policies.yaml"] = changed["policies.yaml"].replace(
        "!known.context.in_store ||", f"feature.count_{number} >= 0.0 && !known.context.in_store ||"
    )
    measure = f"measures: {{ only_{number}: {{ from: 0, to: 1 }},"
    changed["playbook.yaml"] = changed["playbook.yaml"].replace("measures: {", measure)
    identities = f"card: {{}}, card_{number}: {{}}"
    changed["profile.yaml"] = changed["profile.yaml"].replace("card: {}", identities)
    changed["actions.yaml"] = changed["actions.yaml"].replace("headline: ", f"headline: {number} ")
    folder.mkdir()
    for name, text in changed.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("versions")
    return {number: write(root / str(number), number) for number in VERSIONS}


@pytest.fixture(scope="module")
def playbooks(folders):
    return {number: load(folder) for number, folder in folders.items()}


class Shop:
    """Profile, features and gateway of this process on one store of playbooks."""

    def __init__(self, home, folders, playbooks):
        self.store = Store(home / "playbooks")
        self.home, self.folders, self.playbooks = home, folders, playbooks
        self.number_of = {playbook.version: number for number, playbook in playbooks.items()}
        self.stubs, self.reached, self.registries, self.answers = {}, {}, {}, []

    @contextlib.asynccontextmanager
    async def running(self, **polls):
        """Run on version 1, each service polling as often as ``polls`` says."""
        await self.publish(1)
        scoring = remote.stubs().scoring
        async with asyncio.timeout(PATIENCE_SECONDS), contextlib.AsyncExitStack() as stack:
            for name, settings, opened in (
                ("profile", ProfileSettings, profile_app.open_service),
                ("features", FeatureSettings, features_app.open_service),
                (
                    "gateway",
                    GatewaySettings,
                    lambda settings, playbook, playbooks: gateway_app.open_service(
                        settings, playbook, gateway_app.Stubs(scoring=scoring, **self.reached), playbooks
                    ),
                ),
            ):
                read = settings(TACT_HOME=self.home, TACT_PLAYBOOK_POLL_SECONDS=polls.get(name, 0.01))
                opening = opened(read, self.playbooks[1], playbooks=self.store)
                service = await stack.enter_async_context(opening)
                await service.warm_up()
                self.stubs[name] = InProcessStub(service, PATIENCE_SECONDS)
                self.reached[name] = Current()
                self.reached[name].stub = self.stubs[name]
                self.registries[name] = service.registry
            await populate(self.stubs["profile"], self.stubs["features"])
            yield self

    async def publish(self, number):
        """Publish a version, off the loop."""
        await asyncio.to_thread(publish, self.store, self.folders[number], NOW)

    async def decide(self, customer_id=None, **fields):
        """Ask for one decision and keep the answer."""
        asked = {"mode": "DECISION_MODE_DRY_RUN", "at": NOON, **fields}
        asked = request(customer_id=customer_id or random.choice(CUSTOMERS), **asked)
        self.answers.append(await self.stubs["gateway"].Decide(asked))
        return self.answers[-1]

    async def decided_by(self, number, **fields):
        """Decide until a version does."""
        while True:
            answer = await self.decide(**fields)
            if answer.playbook_version == self.playbooks[number].version:
                return answer

    @contextlib.asynccontextmanager
    async def under_load(self):
        """Decide all the time, a few at once."""

        async def decide():
            while not done.is_set():
                await self.decide()
                await asyncio.sleep(0)

        done = asyncio.Event()
        async with asyncio.TaskGroup() as deciders:
            for _ in range(4):
                deciders.create_task(decide())
            try:
                yield
            finally:
                done.set()

    @contextlib.contextmanager
    def without_features(self):
        """Let features give the gateway no answer."""
        self.reached["features"].stub = remote.Remote(BatchGetFeatures=out_of_reach)
        yield
        self.reached["features"].stub = self.stubs["features"]

    def in_use(self, name):
        """Return the numbers of the versions that a service shows."""
        samples = next(m for m in self.registries[name].collect() if m.name == "tact_playbook").samples
        short = {version[:12]: number for version, number in self.number_of.items()}
        return [short[sample.labels["version"]] for sample in samples]

    def refused(self, name, cause):
        """Return how many versions a service refused for a cause."""
        return self.registries[name].get_sample_value("tact_playbook_refused_total", {"cause": cause})


@pytest.fixture
def shop(tmp_path, folders, playbooks):
    return Shop(tmp_path, folders, playbooks)


def out_of_reach(asked):
    nothing = grpc.aio.Metadata()
    raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "")


async def until(condition):
    while not condition():  # noqa: ASYNC110 - what is waited for happens in a service
        await asyncio.sleep(0.005)


def of_one_version(shop, answer):
    """Check that everything in an answer is of the version that it names; return its number."""
    number = shop.number_of[answer.playbook_version]
    assert not answer.degradations
    assert answer.served_by == decision_pb.SERVED_BY_MODEL
    assert answer.feature_set_version == FeatureSet(shop.playbooks[number]).version
    headlines = [action.content["headline"] for action in answer.actions]
    assert all(headline.startswith(f"{number} ") for headline in headlines), headlines
    return number


@pytest.mark.parametrize("slow", ["features", "gateway", "profile"])
def test_every_answer_under_load_is_whole_and_of_one_version(shop, slow):
    async def main():
        async with shop.running(**{slow: 0.3}), shop.under_load():
            for number in (2, 3, 2, 4, 1):
                await shop.publish(number)
                await shop.decided_by(number)
            await asyncio.to_thread(rollback, shop.store, None, NOW)
            await shop.decided_by(4)

    asyncio.run(main())
    numbers = [of_one_version(shop, answer) for answer in shop.answers]
    assert set(numbers) == {1, 2, 3, 4}
    by_own_rule = {n for n, answer in zip(numbers, shop.answers, strict=True) if SURVEY in chosen(answer)}
    assert by_own_rule == {1, 2, 3, 4}


def test_every_decision_is_explained_by_its_own_version_while_it_is_held_or_stored(shop):
    async def main():
        async with shop.running():
            async with shop.under_load():
                for number in VERSIONS:
                    await shop.publish(number)
                    await shop.decided_by(number)
            by_version = {answer.playbook_version: answer for answer in shop.answers}
            assert len(by_version) == 5
            for version, answer in by_version.items():
                story = await explained(answer)
                assert story.response.explanation.candidates
                assert story.response.playbook_version == version
            (shop.store.folder_of(shop.playbooks[2].version) / "events.yaml").unlink()
            (shop.store.folder_of(shop.playbooks[5].version) / "events.yaml").unlink()
            await explained(by_version[shop.playbooks[5].version])

    async def explained(answer):
        asked = decision_pb.ExplainDecisionRequest(decision_id=answer.decision_id)
        return await shop.stubs["gateway"].ExplainDecision(asked)

    asyncio.run(main())


def test_a_decision_of_a_version_that_is_gone_is_not_explained(shop):
    async def main():
        async with shop.running():
            answer = await shop.decide()
            for number in (2, 3, 4):
                await shop.publish(number)
                await shop.decided_by(number)
            (shop.store.folder_of(shop.playbooks[1].version) / "events.yaml").unlink()
            asked = decision_pb.ExplainDecisionRequest(decision_id=answer.decision_id)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await shop.stubs["gateway"].ExplainDecision(asked)
            assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert error_info(failed.value).reason == "PLAYBOOK_VERSION_UNKNOWN"

    asyncio.run(main())


def test_a_repeat_is_answered_whatever_the_version(shop):
    async def main():
        async with shop.running():
            live = {
                "mode": "DECISION_MODE_LIVE",
                "at": None,
                "request_id": "once",
                "customer_id": CUSTOMERS[0],
            }
            first = await shop.decide(**live)
            for number in (2, 3, 4, 5):
                await shop.publish(number)
                await shop.decided_by(number)
            again = await shop.decide(**live)
            assert again.SerializeToString() == first.SerializeToString()
            assert shop.number_of[again.playbook_version] == 1

    asyncio.run(main())


def test_a_bad_version_is_refused_and_everybody_stays_with_the_old_one(shop, caplog):
    caplog.set_level(logging.ERROR, logger="tact")
    bad = shop.playbooks[2].version

    async def main():
        await shop.publish(2)
        events = shop.store.folder_of(bad) / "events.yaml"
        kept = events.read_text()
        events.write_text(kept.replace("complaint: {}", "compliment: {}"))
        async with shop.running(), shop.under_load():
            (shop.store.folder / "next").write_text(f"{bad}\n")
            (shop.store.folder / "next").replace(shop.store.folder / "current")
            await until(lambda: all(shop.refused(name, "invalid") for name in shop.registries))
            seen = len(shop.answers)
            await until(lambda: len(shop.answers) > seen + 20)
            assert {answer.playbook_version for answer in shop.answers} == {shop.playbooks[1].version}
            assert [shop.in_use(name) for name in shop.registries] == [[1]] * 3
            events.write_text(kept)
            await shop.decided_by(2)
        assert [shop.refused(name, "invalid") for name in shop.registries] == [1] * 3

    asyncio.run(main())
    assert {of_one_version(shop, answer) for answer in shop.answers} == {1, 2}
    told = [record.fields for record in caplog.records if record.getMessage() == "playbook refused"]
    assert {(fields["service"], fields["version"], fields["cause"]) for fields in told} == {
        (name, bad, "invalid") for name in shop.registries
    }
    assert len(told) == 3
    assert all("complaint" in fields["detail"] for fields in told)


def test_every_service_takes_a_version_and_loses_nothing(shop):
    async def main():
        async with shop.running():
            before = await vectors()
            await shop.publish(2)
            await until(lambda: [shop.in_use(name) for name in shop.registries] == [[2]] * 3)
            described = await shop.stubs["features"].DescribeFeatures(features_pb.DescribeFeaturesRequest())
            assert described.playbook_version == shop.playbooks[2].version
            loaded = histories("store")
            assert await vectors() == before
            assert histories("store") == histories("state") == loaded
            assert await measured("only_2") == "accepted"
            assert await measured("only_1") == "error"

    async def vectors():
        asked = features_pb.BatchGetFeaturesRequest(
            customers=[features_pb.FeatureKey(customer_id=customer_id) for customer_id in CUSTOMERS],
            playbook_version=shop.playbooks[1].version,
        )
        answer = await shop.stubs["features"].BatchGetFeatures(asked)
        return [result.vectors.customer_vector for result in answer.results]

    async def measured(name):
        decision = await shop.decide(mode="DECISION_MODE_LIVE", at=None)
        outcome = decision_pb.Outcome(
            outcome_id=name,
            decision_id=decision.decision_id,
            rank=1,
            kind="OUTCOME_KIND_VIEWED",
            outcome_time=decision.decision_time,
            measures={name: 1.0},
        )
        batch = decision_pb.RecordOutcomesRequest(outcomes=[outcome])
        (result,) = (await shop.stubs["gateway"].RecordOutcomes(batch)).results
        return result.WhichOneof("result")

    def histories(source):
        name = "tact_features_histories_total"
        return shop.registries["features"].get_sample_value(name, {"source": source})

    asyncio.run(main())


def test_what_was_last_read_of_features_outlives_a_change_of_rules(shop, tmp_path):
    folder = write(tmp_path / "rules", 1)
    policies = (folder / "policies.yaml").read_text()
    (folder / "policies.yaml").write_text(policies.replace("of_age", "of_legal_age"))
    shop.playbooks = shop.playbooks | {6: load(folder)}
    shop.folders = shop.folders | {6: folder}

    async def main():
        async with shop.running():
            await shop.decide(CUSTOMERS[0])
            for number, level in ((6, "LAST_GOOD_FEATURES"), (2, "PRIORS")):
                await shop.publish(number)
                await shop.decided_by(number, customer_id=CUSTOMERS[1])
                with shop.without_features():
                    answer = await shop.decide(CUSTOMERS[0])
                assert served_by(answer) == level

    asyncio.run(main())


def test_one_process_takes_a_version_without_a_restart(tmp_path, folders, playbooks):
    async def main():
        publish(Store(tmp_path / "store"), folders[1], NOW)
        nowhere = f"sqlite:///{tmp_path}/none.db"
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            Together(tmp_path, tmp_path / "store", nowhere) as running,
        ):

            async def decided_by(number):
                while True:
                    answer = await running.stubs["gateway"].Decide(request())
                    if answer.playbook_version == playbooks[number].version:
                        return

            await decided_by(1)
            await asyncio.to_thread(publish, Store(tmp_path / "store"), folders[2], NOW)
            await decided_by(2)
            identity = profile_pb.Identity(kind="card_2", value="4711")
            asked = profile_pb.ResolveIdentitiesRequest(identities=[identity])
            while (await running.stubs["profile"].ResolveIdentities(asked)).results[0].HasField("error"):
                pass
            described = await running.stubs["features"].DescribeFeatures(
                features_pb.DescribeFeaturesRequest()
            )
            assert described.playbook_version == playbooks[2].version

    asyncio.run(main())
