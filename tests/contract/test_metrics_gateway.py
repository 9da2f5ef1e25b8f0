"""Every call is counted where it belongs, and nothing that is counted or logged names anybody."""

import asyncio
import contextlib
import json
import logging
from datetime import UTC, datetime

import grpc
import pytest
import remote
from deciding import instant, playbook, request
from prometheus_client import generate_latest
from tact.decision.v1 import decision_service_pb2 as pb

from services.chassis.inprocess import InProcessStub
from services.chassis.telemetry import JsonFormatter
from services.gateway.app import open_service
from services.gateway.settings import GatewaySettings

SECRET = "SECRET"  # noqa: S105 - stands for what must never show
UNKNOWN_KIND = 4711
DRY = "DECISION_MODE_DRY_RUN"
PATIENCE_SECONDS = 20.0


def converse(folder, exercise, stubs=None):
    """Run ``exercise(stub)`` against a gateway on its own store; return the gateway's registry."""

    async def main():
        settings = GatewaySettings(TACT_HOME=folder, port=0, metrics_port=0)
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            open_service(settings, playbook(), stubs or remote.stubs()) as service,
        ):
            await service.warm_up()
            await exercise(InProcessStub(service, PATIENCE_SECONDS))
            return service.registry

    return asyncio.run(main())


async def status_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def samples(registry, name):
    """Return the samples of one name by their labels."""
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name
    }


def total(registry, name, **labels):
    wanted = set(labels.items())
    return sum(value for found, value in samples(registry, name).items() if wanted <= set(found))


@pytest.fixture
def written():
    """Collect what any logger of the process writes, as JSON and as it was before."""

    class Lines(logging.Handler):
        def __init__(self):
            super().__init__(logging.DEBUG)
            self.lines = []
            self.records = []
            self.setFormatter(JsonFormatter())

        def emit(self, record):
            self.lines.append(self.format(record))
            self.records.append(f"{record.getMessage()} {record.__dict__}")

    handler, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


def test_histograms_count_what_was_called(tmp_path):
    stubs = remote.stubs()

    async def fail(request):
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone"
        )

    async def exercise(stub):
        for number in range(4):
            await stub.Decide(request(request_id=f"live-{number}"))
        for number in range(3):
            await stub.Decide(request(request_id=f"live-{number}"))
        for _ in range(2):
            await stub.Decide(request(mode=DRY))
        await stub.Decide(request(customer_id=remote.NOBODY))
        for number in range(5):
            await status_of(stub.Decide(request(max_actions=-number - 1)))
        await status_of(stub.Decide(request(request_id="live-0", max_actions=1)))
        stubs.scoring.meanwhile = fail
        await stub.Decide(request())

    registry = converse(tmp_path, exercise, stubs)
    calls, repeats, refused, unknown, degraded = 17, 3, 6, 1, 1
    decided = calls - repeats - refused
    decide = {"grpc_method": "Decide"}
    assert total(registry, "grpc_server_started_total", **decide) == calls
    assert total(registry, "grpc_server_handled_total", **decide) == calls
    assert total(registry, "grpc_server_handling_seconds_count", **decide) == calls
    assert total(registry, "grpc_server_handled_total", grpc_code="INVALID_ARGUMENT", **decide) == 5
    assert total(registry, "grpc_server_handled_total", grpc_code="ALREADY_EXISTS", **decide) == 1
    assert total(registry, "grpc_server_in_flight") == 0
    assert total(registry, "tact_decision_seconds_count") == decided
    assert total(registry, "tact_decisions_total") == decided
    assert total(registry, "tact_decisions_total", mode="dry_run") == 2
    assert total(registry, "tact_decisions_total", served_by="priors") == degraded
    assert total(registry, "tact_decision_actions_total") == decided
    assert total(registry, "tact_decision_actions_total", action="do_nothing") == unknown
    lost = samples(registry, "tact_decision_degradations_total")
    assert {labels: count for labels, count in lost.items() if count} == {
        (("cause", "unavailable"), ("source", "scoring")): degraded
    }
    counts = {
        stage: total(registry, "tact_decision_stage_seconds_count", stage=stage)
        for stage in (
            "candidates",
            "resolve",
            "policy",
            "consent",
            "score",
            "arbitrate",
            "place",
            "log",
        )
    }
    asked = dict.fromkeys(("candidates", "resolve", "log"), decided)
    assert counts == dict.fromkeys(counts, decided - unknown) | asked
    stages = total(registry, "tact_decision_stage_seconds_sum")
    assert 0 < stages <= total(registry, "tact_decision_seconds_sum")
    assert total(registry, "tact_decision_seconds_sum") <= total(
        registry, "grpc_server_handling_seconds_sum", **decide
    )


def test_outcomes_are_counted_by_verdict(tmp_path):
    async def exercise(stub):
        decision = await stub.Decide(request())
        told = pb.Outcome(
            outcome_id="o-1",
            decision_id=decision.decision_id,
            rank=1,
            kind="OUTCOME_KIND_VIEWED",
            outcome_time=instant(datetime.now(UTC)),
        )
        orphan = pb.Outcome(outcome_id="o-2", decision_id="nowhere", rank=1)
        orphan.MergeFrom(pb.Outcome(kind="OUTCOME_KIND_REJECTED", outcome_time=told.outcome_time))
        reused = pb.Outcome.FromString(told.SerializeToString())
        reused.rank = 2
        await stub.RecordOutcomes(
            pb.RecordOutcomesRequest(outcomes=[told, told, reused, orphan, pb.Outcome(kind=77)])
        )

    registry = converse(tmp_path, exercise)
    assert samples(registry, "tact_outcomes_total") == {
        (("kind", "viewed"), ("verdict", "accepted")): 1,
        (("kind", "viewed"), ("verdict", "duplicate")): 1,
        (("kind", "viewed"), ("verdict", "reused")): 1,
        (("kind", "rejected"), ("verdict", "unknown")): 1,
        (("kind", ""), ("verdict", "invalid")): 1,
    }


def test_neither_labels_nor_logs_nor_errors_hold_anybody_s_data(tmp_path, written):
    stubs = remote.stubs()
    errors = []

    async def leak(asked):
        raise RuntimeError(f"no row for {asked}")

    async def refuse(asked):
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), f"no row for {asked}"
        )

    async def exercise(stub):
        context = {"placement": SECRET, "intent": SECRET, "device": SECRET}
        decision = await stub.Decide(request(SECRET, request_id=SECRET, context=context))
        assert decision.actions
        await stub.Decide(request(identity=("card", SECRET), include_explanation=True))
        await stub.Decide(request(f"{SECRET} {remote.NOBODY}"))
        for wrong in (
            request(SECRET, request_id=SECRET, max_actions=1),
            request(SECRET * 99, request_id=SECRET * 99),
            request(identity=(SECRET, SECRET)),
            request(SECRET, action_ids=[SECRET], groups=[SECRET]),
            request(SECRET, context={"channel": SECRET, "time_zone": SECRET}),
            request(SECRET, context={"attributes": {"basket_value": SECRET}}),
        ):
            errors.append(await status_of(stub.Decide(wrong)))  # noqa: PERF401 - one after the other
        for service in (stubs.profile, stubs.features, stubs.scoring):
            service.meanwhile = refuse
            answer = await stub.Decide(request(SECRET))
            assert SECRET not in str(answer.degradations)
            service.meanwhile = leak
            errors.append(await status_of(stub.Decide(request(SECRET))))
            service.meanwhile = None
        outcome = pb.Outcome(outcome_id=SECRET, decision_id=SECRET, rank=-1, kind=UNKNOWN_KIND)
        told = pb.Outcome(outcome_id=SECRET, decision_id=SECRET, rank=1, kind="OUTCOME_KIND_VIEWED")
        told.outcome_time.GetCurrentTime()
        results = (await stub.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=[outcome, told]))).results
        assert SECRET not in str(results)

    registry = converse(tmp_path, exercise, stubs)
    assert [error.code().name for error in errors].count("INTERNAL") == 3
    for error in errors:
        assert SECRET not in f"{error.details()} {error.trailing_metadata()}"
    accessed = [json.loads(line) for line in written.lines if '"tact.rpc"' in line]
    assert [line["code"] for line in accessed].count("INTERNAL") == 3
    assert {line["method"] for line in accessed} == {"Decide", "RecordOutcomes"}
    assert len(accessed) == total(registry, "grpc_server_started_total")
    assert SECRET not in "".join(written.lines + written.records)
    assert SECRET not in generate_latest(registry).decode()


def test_labels_are_bounded_by_contract_and_playbook(tmp_path):
    async def exercise(stub):
        await stub.Decide(request())
        for number in range(20):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.Decide(request(f"customer {number}", action_ids=[f"action {number}"], mode=number))

    registry = converse(tmp_path, exercise)
    known = {
        "action": {*playbook().actions, "do_nothing"},
        "channel": {*playbook().head.channels, ""},
        "mode": {"live", "dry_run"},
    }
    for metric in registry.collect():
        for sample in metric.samples:
            for label, allowed in known.items():
                assert sample.labels.get(label) in {None, *allowed}


def test_the_playbook_in_use_is_shown(tmp_path):
    async def exercise(stub):
        pass

    registry = converse(tmp_path, exercise)
    assert samples(registry, "tact_playbook") == {(("name", "shop"), ("version", playbook().version[:12])): 1}
