"""Model versions come and go while four real processes decide without a pause.

All tests look at one story, in which callers ask all the time, each again as soon as it is answered:
version 2 is promoted by the job and rolled back by hand; versions that are broken become the
champion; the registry goes out of reach and comes back. Version 2 has another layout of features
than version 1, which is the hardest way to change places. Scoring looks as often as it does by default.
"""

import asyncio
import contextlib
import io
import itertools
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
import learned
import numpy as np
import pytest
from bench.metrics import difference, verify_answered
from bench.recording import SERVICES
from bench.targets import Home, four_processes
from deciding import request, served_by
from tact.decision.v1 import decision_service_pb2 as pb
from tact.scoring.v1 import scoring_service_pb2 as scoring_pb
from worlds import CUSTOMERS, MODEL, NOON, PATIENCE_SECONDS, populate, register_model, write_shop

from services.chassis.clients import GrpcStub, channel
from training.jobs import promote
from training.jobs.promote import PromoteConfig
from training.jobs.tracking import tracking

PROMISED_SECONDS = 5.0
POLL_SECONDS = 0.01
CALLERS = 4
ANSWERS_OF_EACH = 25
MODEL_METRICS = ("tact_scoring_model", "tact_scoring_registry", "tact_scoring_invalid")
MODES = ({}, {"mode": "DECISION_MODE_DRY_RUN", "at": NOON})
QUESTIONS = [request(customer_id, **mode) for customer_id in CUSTOMERS for mode in MODES]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One answer: who asked for what, and when it came."""

    caller: int
    question: int
    seconds: float
    response: pb.DecideResponse

    @property
    def version(self):
        """The version that scored."""
        return self.response.model_version


class Load:
    """Callers that ask without a pause, and all that they were answered."""

    def __init__(self, gateway):
        self._gateway = gateway
        self._is_over = False
        self.answers = []
        self.failures = []

    @contextlib.asynccontextmanager
    async def going_on(self):
        """Keep asking as long as the block lasts, and wait for the last answers."""
        async with asyncio.TaskGroup() as callers:
            for caller in range(CALLERS):
                callers.create_task(self._ask(caller))
            try:
                yield
            finally:
                self._is_over = True

    async def more(self):
        """Wait until each caller was answered so many times more."""
        seen = len(self.answers)

        def are_enough():
            counts = [sum(each.caller == caller for each in self.answers[seen:]) for caller in range(CALLERS)]
            return min(counts) >= ANSWERS_OF_EACH

        await until(are_enough)

    async def _ask(self, caller):
        for question in itertools.cycle(range(len(QUESTIONS))):
            if self._is_over:
                break
            try:
                response = await self._gateway.Decide(QUESTIONS[question])
            except grpc.aio.AioRpcError as error:
                self.failures.append(error)
                continue
            self.answers.append(
                Answered(caller=caller, question=question, seconds=time.monotonic(), response=response)
            )


class Registry:
    """An MLflow store with a champion, a better version, and some that are broken."""

    def __init__(self, folder):
        self.uri = register_model(folder)
        self._folder = folder
        whole = learned.read(folder / "dataset")
        features = [feature for feature in whole.features if feature.name != "purchases_30d"]
        fewer = learned.write(folder / "fewer", whole.frame.drop(columns="purchases_30d"), features)
        learned.bundle(folder / "second", fewer, outcome="bought")
        self._register("second")
        later = whole.frame.assign(
            exposure_time=whole.frame["exposure_time"] + 300 * learned.DAY,
            outcome_closed_time=whole.frame["outcome_closed_time"] + 300 * learned.DAY,
        )
        learned.write(folder / "later", later, whole.features)
        self.broken = {}
        for cause, files in broken(learned.files(folder / "second")).items():
            (folder / cause).mkdir()
            for name, content in files.items():
                (folder / cause / name).write_bytes(content)
            self.broken[cause] = self._register(cause)

    def promote(self):
        """Run the job that makes version 2 the champion."""
        config = PromoteConfig(
            dataset=self._folder / "later",
            model_name=MODEL,
            version=2,
            by="tests",
            tracking_uri=self.uri,
            resamples=100,
        )
        assert promote.run(config).changed

    def set_alias(self, version):
        """Move the alias by hand, past the gate."""
        with tracking(self.uri) as client:
            client.set_registered_model_alias(MODEL, "champion", version)

    @contextlib.contextmanager
    def out_of_reach(self):
        """Take the database away for the length of the block."""
        database, away = self._folder / "mlflow.db", self._folder / "away.db"
        shutil.move(database, away)
        yield
        shutil.move(away, database)

    def _register(self, name):
        return learned.register(self._folder / name, self.uri, MODEL)


def broken(files):
    """Break a bundle in several ways, by the cause that scoring must tell."""
    half = {"model.txt": files["model.txt"][: len(files["model.txt"]) // 2]}
    with np.load(io.BytesIO(files["golden.npz"])) as arrays:
        golden = io.BytesIO()
        np.savez(golden, inputs=arrays["inputs"], scores=arrays["scores"] + 1e-6)
    return {
        "checksum": files | half,
        "model": learned.resealed(files | half),
        "missing": {name: content for name, content in files.items() if name != "manifest.json"},
        "golden": learned.resealed(files | {"golden.npz": golden.getvalue()}),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What an operator sees at one moment."""

    model: scoring_pb.GetModelResponse
    samples: Mapping

    def changes(self, before):
        """Return what happened to the served model since an earlier look, as metrics tell it."""
        return {
            (name, *labels): number
            for (name, labels), number in difference(self.samples, before.samples).items()
            if number and name.startswith(MODEL_METRICS) and not name.endswith("_created")
        }


class Story:
    """What happened, and what was seen of it from outside."""

    def __init__(self, target, registry):
        self._target = target
        self.registry = registry
        self.seconds = {}
        self.refusals = {}

    async def play(self):
        """Let it happen under load."""
        async with contextlib.AsyncExitStack() as stack:
            stubs = {}
            for name, (descriptor, _) in SERVICES.items():
                opened = channel(f"127.0.0.1:{self._target.services[name].port}", descriptor)
                await stack.enter_async_context(opened)
                stubs[name] = GrpcStub(opened, descriptor, PATIENCE_SECONDS)
            self._scoring = stubs["scoring"]
            await populate(stubs["profile"], stubs["features"])
            self.load = Load(stubs["gateway"])
            async with asyncio.timeout(PATIENCE_SECONDS), self.load.going_on():
                await self.load.more()
                await self._change("promotion", "2", self.registry.promote)
                await self._change("rollback", "1", lambda: self.registry.set_alias("1"))
                for cause, version in self.registry.broken.items():
                    self.refusals[cause] = await self._refuse(cause, version)
                self.outage = await self._lose_registry()
                await self._change("return", "2", lambda: self.registry.set_alias("2"))
            self.end = await self._look()

    async def _change(self, name, version, move):
        seen = len(self.load.answers)

        def moved():
            move()
            return time.monotonic()

        start = await asyncio.to_thread(moved)
        await until(lambda: self.load.answers[-1].version == version)
        first = next(each for each in self.load.answers[seen:] if each.version == version)
        self.seconds[name] = first.seconds - start
        await self.load.more()

    async def _refuse(self, cause, version):
        before = await self._look()
        await asyncio.to_thread(self.registry.set_alias, version)
        return before, await self._look_once_counted(before)

    async def _lose_registry(self):
        before = await self._look()
        with self.registry.out_of_reach():
            return before, await self._look_once_counted(before)

    async def _look_once_counted(self, before):
        while not (await self._look()).changes(before):  # noqa: ASYNC110 - as below
            await asyncio.sleep(POLL_SECONDS)
        await self.load.more()
        return await self._look()

    async def _look(self):
        model = await self._scoring.GetModel(scoring_pb.GetModelRequest())
        return Look(model=model, samples=await asyncio.to_thread(self._target.samples))


async def until(condition):
    while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
        await asyncio.sleep(POLL_SECONDS)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    folder = tmp_path_factory.mktemp("promotion")
    registry = Registry(folder)
    shop = write_shop(folder / "shop")
    home = Home(folder=folder / "home", playbook=shop, model_name=MODEL, tracking_uri=registry.uri)
    with four_processes(home, folder) as target:
        story = Story(target, registry)
        asyncio.run(story.play())
    return story


@pytest.mark.parametrize("change", ["promotion", "rollback", "return"])
def test_moving_the_alias_changes_answers_within_five_seconds(story, change, record_property):
    sys.stdout.write(f"{change}: {story.seconds[change]:.2f} s after the alias moved\n")
    record_property("seconds", story.seconds[change])
    assert story.seconds[change] <= PROMISED_SECONDS


def test_no_request_fails_while_models_change(story):
    answers = story.load.answers
    assert story.load.failures == []
    assert {served_by(each.response) for each in answers} == {"MODEL"}
    assert not any(each.response.degradations for each in answers)
    verify_answered(
        "gateway", story.end.samples, [("tact.decision.v1.DecisionService", "Decide")], len(answers)
    )


def test_a_caller_never_meets_an_older_version_again(story):
    for caller in range(CALLERS):
        versions = [each.version for each in story.load.answers if each.caller == caller]
        assert [version for version, _ in itertools.groupby(versions)] == ["1", "2", "1", "2"]


def test_a_version_scores_the_same_whatever_happened_since(story):
    scored = {"1": defaultdict(set), "2": defaultdict(set)}
    for each in story.load.answers:
        # Live decisions are of now, which moves on.
        if QUESTIONS[each.question].HasField("decision_time"):
            actions = tuple((action.action_id, action.propensity) for action in each.response.actions)
            scored[each.version][each.question].add(actions)
    for of_version in scored.values():
        assert all(len(found) == 1 for found in of_version.values())
    assert scored["1"] != scored["2"]


@pytest.mark.parametrize("cause", ["checksum", "model", "missing", "golden"])
def test_promoting_a_broken_bundle_changes_nothing_but_a_metric(story, cause):
    before, after = story.refusals[cause]
    assert after.changes(before) == {("tact_scoring_model_refused_total", ("cause", cause)): 1}
    refused = after.model.refused
    assert (refused.model_version, refused.cause) == (story.registry.broken[cause], cause)
    for look in (before, after):
        look.model.ClearField("refused")
    assert after.model == before.model
    assert after.model.model_version == "1"


def test_a_registry_that_goes_away_changes_nothing_but_a_metric(story):
    before, after = story.outage
    (metric,) = after.changes(before)
    assert metric == ("tact_scoring_registry_errors_total",)
    assert after.model == before.model
