"""All in one process or each service in its own: callers cannot tell which.

Three worlds hold the same customers, events and model: the services called directly in this process,
all of them as ``tact up`` runs them, and each as ``tact serve`` runs it.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections import Counter
from datetime import UTC, datetime, timedelta

import grpc
import pytest
import worlds as running
from deciding import codes, degradations, instant, request, served_by
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2
from tact.decision.v1 import decision_service_pb2 as pb
from worlds import CUSTOMERS, NOON, PATIENCE_SECONDS

from services.chassis.faults import STATUS_DETAILS_KEY

DRY = "DECISION_MODE_DRY_RUN"
REQUESTS = 260


class Worlds:
    """The three worlds, and the loop that they live on."""

    def __init__(self, folder):
        self.runner = asyncio.Runner()
        self.stack = contextlib.AsyncExitStack()
        uri = running.register_model(folder)
        shop = running.write_shop(folder / "shop")
        self.one = running.OneProcess(folder / "one", shop, uri)
        self.up = running.Together(folder / "up", shop, uri)
        self.four = running.Processes(folder / "four", shop, uri)
        self.all = (self.one, self.up, self.four)

    def run(self, exercise):
        """Run a test's coroutine."""

        async def bounded():
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await exercise

        return self.runner.run(bounded())

    async def open(self):
        """Start and fill them."""
        for world in self.all:
            await self.stack.enter_async_context(world)
            await running.populate(world.stubs["profile"], world.stubs["features"])

    async def ask(self, rpc, asked, of=None):
        """Ask each world the same; return what each answered or how it failed."""
        return await asyncio.gather(*(answered(world, rpc, asked) for world in of or self.all))

    async def same(self, rpc, asked, of=None, strip=()):
        """Ask each world the same and return the one answer that all gave."""
        first, *others = await self.ask(rpc, asked, of)
        for other in others:
            assert whole(other, strip) == whole(first, strip)
        return first


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    built = Worlds(tmp_path_factory.mktemp("worlds"))
    with built.runner:
        try:
            built.run(built.open())
            yield built
        finally:
            built.run(built.stack.aclose())
    log = "".join(built.four.log)
    assert '"Decide"' in log
    assert "unhandled exception" not in log
    assert "customer-" not in log


async def answered(world, rpc, asked):
    try:
        return await getattr(world.stubs["gateway"], rpc)(asked, timeout=PATIENCE_SECONDS)
    except grpc.aio.AioRpcError as error:
        return error


def whole(answer, strip=()):
    """Return all of an answer but how long it took, or all of an error."""
    if isinstance(answer, grpc.aio.AioRpcError):
        return {"code": answer.code(), "text": answer.details(), "status": MessageToDict(status_of(answer))}
    bare = type(answer)()
    bare.CopyFrom(answer)
    if isinstance(bare, pb.DecideResponse):
        stages = [timing.duration.ToTimedelta() for timing in bare.timings]
        assert timedelta() < sum(stages, timedelta()) <= bare.total_duration.ToTimedelta()
        for name in ("timings", "total_duration"):
            bare.ClearField(name)
        for lost in bare.degradations:
            for name in strip:
                lost.ClearField(name)
    return MessageToDict(bare, preserving_proto_field_name=True)


def status_of(error):
    return status_pb2.Status.FromString(dict(error.trailing_metadata())[STATUS_DETAILS_KEY])


def reason(error):
    """Name the machine-readable cause of an error."""
    info = error_details_pb2.ErrorInfo()
    assert status_of(error).details[0].Unpack(info)
    assert info.domain == "tact"
    return info.reason


def requests(count, seed, name):
    """Draw dry requests of every sort, one in ten of them wrong."""
    draw = random.Random(seed)
    return [drawn(draw, f"{name}-{number}") for number in range(count)]


def drawn(draw, request_id):
    customer = draw.choice([*CUSTOMERS, "nobody"])
    context = {}
    if draw.random() < 0.5:
        attributes = {"basket_value": draw.randrange(10_000) / 100, "in_store": draw.random() < 0.5}
        context["attributes"] = {key: raw for key, raw in attributes.items() if draw.random() < 0.6}
        context["time_zone"] = draw.choice(["", "America/Lima", "Asia/Kathmandu"])
        context["channel"] = draw.choice(["", "app", "email"])
        context["device"] = draw.choice(["", "phone"])
    if draw.random() < 0.1:
        context["time_zone"] = "Europe/Pariss"
    return request(
        customer_id=customer,
        identity=("card", f"card of {customer}") if draw.random() < 0.3 else None,
        at=NOON + timedelta(seconds=draw.randrange(-3 * 86_400, 3 * 86_400)),
        context=context,
        request_id=request_id,
        mode=DRY,
        max_actions=draw.choice([0, 1, 3, 10, 10, 10]),
        action_ids=draw.sample(["bread-coupon", "wine-coupon", "survey", "receipt", "recall"], 2)
        if draw.random() < 0.2
        else [],
        groups=["offers"] if draw.random() < 0.15 else [],
        include_explanation=draw.random() < 0.5,
        min_sequence=draw.choice([0, 0, 0, 0, 1, 10**9]),
    )


def test_hundreds_of_whole_answers_are_the_same(worlds):
    async def exercise():
        return [await worlds.same("Decide", asked) for asked in requests(REQUESTS, 1, "whole")]

    answers = worlds.run(exercise())
    errors = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    decisions = [answer for answer in answers if isinstance(answer, pb.DecideResponse)]
    assert len(decisions) >= 200
    assert len(errors) >= 10
    assert {reason(error) for error in errors} == {"REQUEST_INVALID"}
    levels = Counter(map(served_by, decisions))
    assert levels["MODEL"] >= 100
    assert levels["PRIORS"] >= 10
    assert sum(bool(answer.actions) for answer in decisions) >= 100
    assert {"UNKNOWN_CUSTOMER", "NO_CONSENT", "NOT_ELIGIBLE", "BELOW_THRESHOLD"} <= {
        code for answer in decisions for code in codes(answer)
    }
    assert sum(answer.HasField("explanation") for answer in decisions) >= 80
    assert len({action.propensity for answer in decisions for action in answer.actions}) >= 30


def test_repeats_are_the_same_to_the_byte(worlds):
    async def exercise():
        for asked in requests(40, 2, "repeated"):
            first = await worlds.ask("Decide", asked)
            second = await worlds.ask("Decide", asked)
            for before, after in zip(first, second, strict=True):
                if isinstance(before, grpc.aio.AioRpcError):
                    assert whole(after) == whole(before)
                else:
                    assert after.SerializeToString(deterministic=True) == before.SerializeToString(
                        deterministic=True
                    )

    worlds.run(exercise())


def test_live_answers_and_outcomes_are_the_same(worlds):
    async def exercise():
        told = []
        for number, customer in enumerate(CUSTOMERS[:20]):
            now = datetime.now(UTC)
            decision = await worlds.same("Decide", request(customer, at=now, request_id=f"live-{number}"))
            told += [
                pb.Outcome(
                    outcome_id=f"outcome-{number}-{rank}",
                    decision_id=decision.decision_id,
                    rank=rank,
                    kind=1 + number % 4,
                    outcome_time=instant(NOON),
                )
                for rank in (1, len(decision.actions) + 1)
            ]
        told += [pb.Outcome(), told[0], pb.Outcome(outcome_id="o", decision_id="d", rank=1, kind=99)]
        first = await worlds.same("RecordOutcomes", pb.RecordOutcomesRequest(outcomes=told))
        for outcome in told:
            outcome.rank = 1
        return first, await worlds.same("RecordOutcomes", pb.RecordOutcomesRequest(outcomes=told))

    first, second = worlds.run(exercise())
    verdicts = Counter(result.WhichOneof("result") for result in first.results)
    assert verdicts == {"accepted": 21, "error": 22}
    assert all(result.accepted.duplicate for result in second.results[:40:2])


def test_errors_have_the_same_status(worlds):
    asked = request(CUSTOMERS[0], at=NOON, mode=DRY, request_id="taken")
    wrong = request(
        "",
        identity=("crad", ""),
        request_id="r" * 200,
        mode=17,
        max_actions=1_000,
        action_ids=["wine-cupon"] * 3,
        groups=["offer"],
        min_sequence=-1,
        context={"channel": "emial", "time_zone": "x", "attributes": {"basket_value": float("nan"), "b": 1}},
    )
    wrong.decision_time.seconds = 2**60
    many = request(context={"attributes": {f"attribute {number}": 1.0 for number in range(3_000)}})

    async def exercise():
        await worlds.same("Decide", asked)
        other = request(CUSTOMERS[1], at=NOON, mode=DRY, request_id="taken")
        batch = pb.RecordOutcomesRequest(outcomes=[pb.Outcome()] * 10_001)
        errors = [
            await worlds.same("Decide", wrong),
            await worlds.same("Decide", many),
            await worlds.same("Decide", pb.DecideRequest()),
            await worlds.same("Decide", request(at=NOON)),
            await worlds.same("Decide", other),
            await worlds.same("RecordOutcomes", batch),
        ]
        for world in worlds.all:
            edit(world, "UPDATE dry_run_decisions SET record_time = record_time - 90000000000")
        return [*errors, await worlds.same("Decide", asked)]

    errors = worlds.run(exercise())
    assert [reason(error) for error in errors] == [
        *["REQUEST_INVALID"] * 4,
        "IDENTIFIER_REUSED",
        "BATCH_TOO_LARGE",
        "REQUEST_ID_EXPIRED",
    ]
    bad = error_details_pb2.BadRequest()
    assert status_of(errors[0]).details[1].Unpack(bad)
    assert {violation.field for violation in bad.field_violations} == {
        "mode",
        "decision_time",
        "request_id",
        "customer.identity.kind",
        "customer.identity.value",
        "max_actions",
        "min_sequence",
        "action_ids[0]",
        "action_ids[1]",
        "action_ids[2]",
        "groups[0]",
        "context.channel",
        "context.attributes[b]",
        "context.attributes[basket_value]",
        "context.time_zone",
    }


def edit(world, *statements):
    """Do to a gateway's store what it would not do itself."""
    with contextlib.closing(sqlite3.connect(world.home / "gateway.sqlite", isolation_level=None)) as store:
        store.execute("PRAGMA legacy_alter_table = ON")
        for statement in statements:
            store.execute(statement)


def test_a_broken_log_silences_the_same(worlds):
    tables = ("decisions", "dry_run_decisions", "outcomes")
    told = pb.Outcome(outcome_id="o", decision_id="d", rank=1, kind=1, outcome_time=instant(NOON))

    async def exercise():
        for world in worlds.all:
            edit(world, *(f"ALTER TABLE {name} RENAME TO lost_{name}" for name in tables))
        try:
            silenced = [
                await worlds.same("Decide", request(CUSTOMERS[0], at=NOON, mode=DRY, request_id="lost")),
                await worlds.same("Decide", request("nobody", at=NOON, mode=DRY, request_id="nobody")),
                await worlds.same("RecordOutcomes", pb.RecordOutcomesRequest(outcomes=[told])),
            ]
        finally:
            for world in worlds.all:
                edit(world, *(f"ALTER TABLE lost_{name} RENAME TO {name}" for name in tables))
        found = await worlds.same("Decide", request(CUSTOMERS[0], at=NOON, mode=DRY, request_id="lost"))
        return *silenced, found

    decision, _, error, found = worlds.run(exercise())
    assert (served_by(decision), codes(decision)) == ("NOTHING", ["NOT_LOGGED"])
    assert degradations(decision) == [("DECISION_LOG", "UNAVAILABLE")]
    assert reason(error) == "STORE_UNAVAILABLE"
    assert found.actions
    assert found.decision_id == decision.decision_id


@pytest.mark.parametrize("stopped", [("profile",), ("features",), ("scoring",), ("profile", "features")])
def test_what_is_stopped_degrades_the_same(worlds, stopped):
    both = (worlds.one, worlds.four)
    name = "-".join(stopped)

    async def recovered():
        while any(
            degradations(answer)
            for answer in await worlds.ask("Decide", request(CUSTOMERS[0], at=NOON, mode=DRY), both)
        ):
            pass

    async def exercise():
        for customer in CUSTOMERS[::2]:
            before = request(
                customer, at=NOON - timedelta(hours=1), mode=DRY, request_id=f"{name} {customer}"
            )
            await worlds.same("Decide", before, both)
        for service in stopped:
            await asyncio.gather(*(world.stop(service) for world in both))
        try:
            asked = requests(30, 3, name)
            return [await worlds.same("Decide", one, both, strip=["detail"]) for one in asked]
        finally:
            for service in stopped:
                await asyncio.gather(*(world.start(service) for world in both))
            await recovered()

    answers = [answer for answer in worlds.run(exercise()) if isinstance(answer, pb.DecideResponse)]
    assert len(answers) >= 20
    levels = set(map(served_by, answers))
    named = {source.lower() for answer in answers for source, cause in degradations(answer)}
    assert set(stopped) <= named
    if "profile" in stopped:
        assert "NOTHING" in levels
        left = {action.action_id for answer in answers for action in answer.actions}
        assert left <= {"recall", "receipt"}
    else:
        assert "PRIORS" in levels
    if stopped == ("features",):
        assert "LAST_GOOD_FEATURES" in levels
