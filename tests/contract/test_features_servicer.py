"""The feature service over a real channel and in process: the same answers and errors."""

import asyncio
import contextlib
import logging
import struct

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import CollectorRegistry, generate_latest
from tact.errors.v1 import errors_pb2
from tact.features.v1 import feature_service_pb2 as pb

from services.chassis.clients import GrpcStub, channel
from services.chassis.faults import error_info
from services.chassis.inprocess import InProcessStub
from services.chassis.rpc import Service
from services.chassis.server import Listener, serving
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.loader import load, shipped
from services.features.app import open_service
from services.features.fakes import InMemoryEvents, NoState
from services.features.handlers import FeatureHandlers
from services.features.metrics import FeatureMetrics
from services.features.ports import StoreOverloaded, StoreUnavailable
from services.features.servicer import FeatureServicer
from services.features.settings import FeatureSettings

FEATURES = pb.DESCRIPTOR.services_by_name["FeatureService"]
PLAYBOOK = load(shipped("retail"))
LAYOUT = FeatureSet(PLAYBOOK)
NOW = 1_510_000_000_000_000
PATIENCE_SECONDS = 20.0


@contextlib.asynccontextmanager
async def wire(service):
    async with (
        serving(service, Listener(port=0, metrics_port=0)) as running,
        channel(f"127.0.0.1:{running.port}", FEATURES) as opened,
    ):
        yield GrpcStub(opened, FEATURES, PATIENCE_SECONDS)


@contextlib.asynccontextmanager
async def in_process(service):
    await service.warm_up()
    yield InProcessStub(service, PATIENCE_SECONDS)


@pytest.fixture(params=[wire, in_process])
def connect(request):
    return request.param


@pytest.fixture
def ask(connect, tmp_path):
    """Run ``main(stub, service)`` against the real service."""

    def run(main):
        async def bounded():
            settings = FeatureSettings(home=tmp_path)
            async with (
                asyncio.timeout(PATIENCE_SECONDS),
                open_service(settings, PLAYBOOK, lambda: NOW) as service,
                connect(service) as stub,
            ):
                return await main(stub, service)

        return asyncio.run(bounded())

    return run


def at(micros):
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)


def purchase(event_id, *, event_time=NOW - 1_000_000, customer_id="c1", **attributes):
    event = pb.Event(event_id=event_id, customer_id=customer_id, type="purchase", event_time=at(event_time))
    for name, value in attributes.items():
        field = {str: "string_value", bool: "bool_value"}.get(type(value), "number_value")
        setattr(event.attributes[name], field, value)
    return event


def ingest(*events):
    return pb.IngestEventsRequest(events=events)


def get(*keys, **fields):
    return pb.BatchGetFeaturesRequest(**{"customers": keys, "playbook_version": PLAYBOOK.version, **fields})


def key(customer_id="c1", **fields):
    return pb.FeatureKey(customer_id=customer_id, **fields)


def named(names, vector):
    return dict(zip(names, struct.unpack(f"<{len(names)}d", vector), strict=True))


def customer(result):
    return named(LAYOUT.customer_names, result.vectors.customer_vector)


def violations(error):
    return {violation.field: violation.description for violation in error.field_violations}


def failure(ask, rpc, request):
    async def main(stub, service):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await getattr(stub, rpc)(request)
        return failed.value

    return ask(main)


def bad_request(error):
    for name, value in error.trailing_metadata():
        if name == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                found = error_details_pb2.BadRequest()
                if detail.Unpack(found):
                    return {v.field: v.description for v in found.field_violations}
    return {}


def test_what_is_acknowledged_is_in_the_next_read(ask):
    async def main(stub, service):
        ingested = await stub.IngestEvents(
            ingest(
                purchase("a", amount=1.25, quantity=2, department="MEAT", with_coupon=True),
                purchase("b", amount=2.5, basket="x"),
            )
        )
        read = await stub.BatchGetFeatures(
            get(key(action_ids=["campaign-18", "campaign-19"]), min_sequence=ingested.sequence)
        )
        return ingested, read

    ingested, read = ask(main)
    assert [result.accepted.sequence for result in ingested.results] == [1, 2]
    assert ingested.sequence == 2
    (result,) = read.results
    assert customer(result)["spend_28d"] == 3.75
    assert customer(result)["coupon_departments_90d"] == 1.0
    assert named(LAYOUT.customer_names, result.vectors.customer_ages)["spend_28d"] == 1.0
    assert len(result.vectors.candidate_vectors) == 8 * 2 * len(LAYOUT.candidate_names)
    assert result.vectors.as_of_sequence == 2
    assert read.schema_fingerprint == LAYOUT.served_fingerprint


def test_duplicates_and_reuse_are_told_apart(ask):
    async def main(stub, service):
        await stub.IngestEvents(ingest(purchase("a", amount=1)))
        return await stub.IngestEvents(
            ingest(purchase("a", amount=1), purchase("a", amount=2), purchase("b"), purchase("b"))
        )

    duplicate, reused, new, repeated = ask(main).results
    assert (duplicate.accepted.sequence, duplicate.accepted.duplicate) == (1, True)
    assert reused.error.reason == errors_pb2.ERROR_REASON_IDENTIFIER_REUSED
    assert reused.error.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
    assert (new.accepted.sequence, new.accepted.duplicate) == (2, False)
    assert (repeated.accepted.sequence, repeated.accepted.duplicate) == (2, True)


def test_one_bad_event_does_not_fail_the_others(ask):
    bad = purchase("bad", amonut=1.0, quantity=float("nan"), event_time=NOW + 301_000_000)
    absent = pb.Event(type="purchas")
    absent.attributes["amount"].list_value.values.add()

    async def main(stub, service):
        return await stub.IngestEvents(ingest(purchase("a"), bad, absent, purchase("b")))

    response = ask(main)
    assert [result.WhichOneof("result") for result in response.results] == [
        "accepted",
        "error",
        "error",
        "accepted",
    ]
    _, first, second, _ = response.results
    assert first.error.reason == errors_pb2.ERROR_REASON_REQUEST_INVALID
    assert violations(first.error) == {
        "event_time": "must lie at most five minutes ahead",
        "attributes.amonut": 'not in the playbook; did you mean "amount"?',
        "attributes.quantity": "must be finite",
    }
    assert violations(second.error) == {
        "event_id": "must have 1 to 128 characters",
        "customer_id": "must have 1 to 128 characters",
        "event_time": "must be set",
        "type": 'not in the playbook; did you mean "purchase"?',
    }
    assert response.sequence == 2


def test_late_events_land_in_their_own_window(ask):
    day = 86_400_000_000

    async def main(stub, service):
        keys = [key(as_of_time=at(NOW - days * day)) for days in (0, 30, 60)]
        spent = []
        for event_id, days_ago in (("new", 1), ("late", 31), ("later", 61)):
            await stub.IngestEvents(
                ingest(purchase(event_id, event_time=NOW - days_ago * day, amount=days_ago))
            )
            response = await stub.BatchGetFeatures(get(*keys))
            spent.append([customer(result)["spend_28d"] for result in response.results])
        return spent

    assert ask(main) == [[1.0, 0.0, 0.0], [1.0, 31.0, 0.0], [1.0, 31.0, 61.0]]


def test_a_window_includes_its_start_and_excludes_its_end(ask):
    window = 28 * 86_400_000_000

    async def main(stub, service):
        times = {"before": NOW - window - 1, "start": NOW - window, "last": NOW - 1, "end": NOW}
        events = [
            purchase(event_id, event_time=event_time, amount=amount)
            for (event_id, event_time), amount in zip(times.items(), (1, 10, 100, 1_000), strict=True)
        ]
        await stub.IngestEvents(ingest(*events))
        response = await stub.BatchGetFeatures(get(key(as_of_time=at(NOW))))
        return customer(response.results[0])["spend_28d"]

    assert ask(main) == 110.0


def test_a_bad_key_names_its_fields(ask):
    absurd = [Timestamp(seconds=-1), Timestamp(seconds=4_102_444_801), Timestamp(seconds=1, nanos=-1)]

    async def main(stub, service):
        keys = [key(as_of_time=time) for time in absurd]
        keys.append(key(action_ids=["campaign-1", "campagn-2"]))
        return await stub.BatchGetFeatures(get(*keys, key("unknown")))

    *bad, good = ask(main).results
    assert [list(violations(result.error)) for result in bad] == [["as_of_time"]] * 3 + [["action_ids[1]"]]
    assert violations(bad[3].error)["action_ids[1]"].endswith('did you mean "campaign-2"?')
    assert good.HasField("vectors")


@pytest.mark.parametrize(
    ("rpc", "empty", "limit", "field"),
    [("IngestEvents", pb.Event(), 10_000, "events"), ("BatchGetFeatures", key(), 1_000, "customers")],
)
def test_oversize_batches_are_refused_whole(ask, rpc, empty, limit, field):
    request = ingest(*[empty] * (limit + 1)) if rpc == "IngestEvents" else get(*[empty] * (limit + 1))
    error = failure(ask, rpc, request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error).reason == "BATCH_TOO_LARGE"
    assert bad_request(error) == {field: f"{limit + 1} items, at most {limit}"}


@pytest.mark.parametrize(
    ("fields", "code", "reason", "message"),
    [
        ({"playbook_version": ""}, "INVALID_ARGUMENT", "REQUEST_INVALID", "playbook_version: must be set"),
        ({"playbook_version": "0" * 64}, "FAILED_PRECONDITION", "PLAYBOOK_VERSION_UNKNOWN", PLAYBOOK.version),
        ({"min_sequence": 1}, "FAILED_PRECONDITION", "SEQUENCE_NOT_REACHED", "the store is at 0"),
        ({"min_sequence": -1}, "INVALID_ARGUMENT", "REQUEST_INVALID", "min_sequence: must not be negative"),
    ],
)
def test_a_request_that_cannot_be_served_says_why(ask, fields, code, reason, message):
    error = failure(ask, "BatchGetFeatures", get(key(), **fields))
    assert (error.code().name, error_info(error).reason) == (code, reason)
    assert message in error.details()


def test_features_are_described_in_the_order_of_the_vectors(ask):
    async def main(stub, service):
        await stub.IngestEvents(ingest(purchase("a")))
        return await stub.DescribeFeatures(pb.DescribeFeaturesRequest())

    response = ask(main)
    assert {feature.name for feature in response.features} == PLAYBOOK.features.keys()
    assert {f.name: f.definition_hash for f in response.features} == PLAYBOOK.definition_hashes
    served = [(f.name, f.scope) for f in response.features if f.served]
    assert [n for n, scope in served if scope == pb.FEATURE_SCOPE_CUSTOMER] == list(LAYOUT.customer_names)
    assert [n for n, scope in served if scope == pb.FEATURE_SCOPE_CANDIDATE] == list(LAYOUT.candidate_names)
    assert response.playbook_version == PLAYBOOK.version
    assert response.schema_fingerprint == LAYOUT.served_fingerprint
    assert response.sequence == 1
    share = next(feature for feature in response.features if feature.name == "department_share")
    assert share.kind == "affinity"
    assert share.description.startswith("Share of")


@pytest.mark.parametrize(
    ("failing", "code", "reason"),
    [
        (
            StoreUnavailable("the event store cannot be used: disk is full"),
            "UNAVAILABLE",
            "STORE_UNAVAILABLE",
        ),
        (StoreOverloaded("the queue to the event store is full"), "RESOURCE_EXHAUSTED", "OVERLOADED"),
    ],
)
def test_a_failing_store_is_named(connect, failing, code, reason):
    async def main():
        registry = CollectorRegistry()
        store = InMemoryEvents()
        handlers = FeatureHandlers(store, NoState(), PLAYBOOK, lambda: NOW, FeatureMetrics(registry))
        servicer = FeatureServicer(handlers)
        service = Service(name="features", descriptor=FEATURES, servicer=servicer, registry=registry)
        async with connect(service) as stub:
            store.failure = failing
            errors = []
            for call, request in (
                (stub.IngestEvents, ingest(purchase("a"))),
                (stub.BatchGetFeatures, get(key())),
                (stub.DescribeFeatures, pb.DescribeFeaturesRequest()),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await call(request)
                errors.append(failed.value)
            return errors

    for error in asyncio.run(main()):
        assert (error.code().name, error_info(error).reason) == (code, reason)
        assert error.details() == str(failing)


def test_neither_logs_nor_metrics_hold_customer_data(ask, caplog):
    caplog.set_level(logging.DEBUG, logger="tact")

    async def main(stub, service):
        marked = purchase("SECRET-event", customer_id="SECRET-customer", basket="SECRET-basket")
        wrong = purchase("SECRET-wrong", customer_id="SECRET-customer", amount="SECRET-amount")
        response = await stub.IngestEvents(ingest(marked, wrong, marked))
        assert response.results[1].HasField("error")
        await stub.BatchGetFeatures(get(key("SECRET-customer"), key("SECRET" * 30)))
        return generate_latest(service.registry).decode()

    metrics = ask(main)
    assert 'tact_features_events_total{result="stored"} 1.0' in metrics
    assert "tact_features_waiting_writes 0.0" in metrics
    assert "SECRET" not in metrics
    assert caplog.records
    assert "SECRET" not in "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
