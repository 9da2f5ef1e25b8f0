"""The profile service over a real channel and in process: the same answers and errors."""

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections import Counter
from time import monotonic

import databases
import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import CollectorRegistry, generate_latest
from tact.errors.v1 import errors_pb2
from tact.profile.v1 import profile_service_pb2 as pb

from services.chassis.clients import GrpcStub, channel
from services.chassis.faults import error_info
from services.chassis.inprocess import InProcessStub
from services.chassis.rpc import Service
from services.chassis.server import Listener, serving
from services.engine.playbook.loader import load, shipped
from services.profile.adapters.tables import TABLES
from services.profile.app import open_service
from services.profile.domain.borrowed import BorrowedValues
from services.profile.fakes import InMemoryProfiles
from services.profile.handlers import ProfileHandlers
from services.profile.metrics import ProfileMetrics
from services.profile.ports import StoreOverloaded, StoreUnavailable
from services.profile.servicer import ProfileServicer
from services.profile.settings import ProfileSettings
from tests.playbooks import load_playbook

PROFILES = pb.DESCRIPTOR.services_by_name["ProfileService"]
PLAYBOOK = load(shipped("retail"))
NOW = 1_510_000_000_000_000
PATIENCE_SECONDS = 20.0
LEASE_SECONDS = 0.1
NO_TOKEN = {"page_token": "x"}


@contextlib.asynccontextmanager
async def wire(service):
    async with (
        serving(service, Listener(port=0, metrics_port=0)) as running,
        channel(f"127.0.0.1:{running.port}", PROFILES) as opened,
    ):
        yield GrpcStub(opened, PROFILES, PATIENCE_SECONDS)


@contextlib.asynccontextmanager
async def in_process(service):
    await service.warm_up()
    yield InProcessStub(service, PATIENCE_SECONDS)


@pytest.fixture(params=[wire, in_process])
def connect(request):
    return request.param


@pytest.fixture
def ask(connect, tmp_path):
    """Run ``main(stub, service)`` against the real service; each run is a restart on the same folder."""

    def run(main, playbook=PLAYBOOK, store=""):
        async def bounded():
            settings = ProfileSettings(home=tmp_path, store=store, identity_lease_seconds=LEASE_SECONDS)
            async with (
                asyncio.timeout(PATIENCE_SECONDS),
                open_service(settings, playbook, lambda: NOW) as service,
                connect(service) as stub,
            ):
                return await main(stub, service)

        return asyncio.run(bounded())

    return run


@pytest.fixture(scope="module")
def lending(tmp_path_factory):
    """A playbook that copies, borrows, and asks for consent to the use of data."""
    return load_playbook(
        tmp_path_factory.mktemp("playbook") / "shop",
        ("playbook", "purposes", "profiling", {"use": "data"}),
        ("profile", "attributes", "tariff", {"type": "string", "provenance": "copied", "max_age": "1h"}),
        ("profile", "attributes", "mood", {"type": "string", "provenance": "borrowed", "max_age": "1h"}),
        ("profile", "attributes", "joined", {"type": "timestamp"}),
        ("profile", "attributes", "slogan", {"type": "string", "provenance": "displayed"}),
    )


def at(seconds_ago):
    micros = NOW - int(seconds_ago * 1_000_000)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)


def value(plain):
    if plain is None:
        return Value(null_value=0)
    if isinstance(plain, list | dict):
        return json_format.ParseDict(plain, Value())
    return Value(string_value=plain) if isinstance(plain, str) else Value(number_value=plain)


def update(customer_id="c1", *, cards=(), record_time=None, source="", **attributes):
    return pb.ProfileUpdate(
        customer_id=customer_id,
        attributes={name: value(plain) for name, plain in attributes.items()},
        identities=[card(number) for number in cards],
        record_time=record_time,
        source=source,
    )


def card(number):
    return pb.Identity(kind="loyalty_card", value=number)


def consent(receipt_id, state=pb.CONSENT_STATE_GRANTED, *, customer_id="c1", **fields):
    said = {"purpose": "marketing", "channel": "mail", **fields}
    return pb.ConsentRecord(
        customer_id=customer_id, consent=pb.Consent(receipt_id=receipt_id, state=state, **said)
    )


def upsert(*updates):
    return pb.UpsertProfilesRequest(updates=updates)


def record(*records):
    return pb.RecordConsentsRequest(records=records)


def get(*keys, as_of_time=None):
    return pb.BatchGetProfilesRequest(
        customers=[pb.CustomerKey(customer_id=key) if isinstance(key, str) else key for key in keys],
        as_of_time=as_of_time,
    )


def plain(profile):
    return {
        name: getattr(attribute.value, attribute.value.WhichOneof("kind"))
        for name, attribute in profile.attributes.items()
    }


def violations(error):
    return {violation.field: violation.description for violation in error.field_violations}


def failure(ask, rpc, request):
    async def main(stub, service):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await getattr(stub, rpc)(request)
        return failed.value

    return ask(main)


def bad_request(error):
    for name, raw in error.trailing_metadata():
        if name == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(raw).details:
                found = error_details_pb2.BadRequest()
                if detail.Unpack(found):
                    return {v.field: v.description for v in found.field_violations}
    return {}


def test_what_was_put_on_file_is_read_by_id_and_by_identity(ask):
    async def main(stub, service):
        answered = await stub.UpsertProfiles(
            upsert(update(cards=["4711"], age_band="25-34", kids_count="2", record_time=at(60)))
        )
        by_identity = pb.CustomerKey(identity=card("4711"))
        return answered, await stub.BatchGetProfiles(get("c1", by_identity))

    answered, read = ask(main)
    assert answered.results[0].customer_id == "c1"
    first, second = (result.profile for result in read.results)
    assert first == second
    assert (first.found, first.customer_id) == (True, "c1")
    assert plain(first) == {"age_band": "25-34", "kids_count": "2"}
    assert first.attributes["age_band"].record_time == at(60)


def test_an_unknown_customer_is_an_empty_answer(ask):
    async def main(stub, service):
        unknown_card = pb.CustomerKey(identity=card("none"))
        read = await stub.BatchGetProfiles(get("nobody", unknown_card))
        resolved = await stub.ResolveIdentities(pb.ResolveIdentitiesRequest(identities=[card("none")]))
        return read, resolved

    read, resolved = ask(main)
    assert [result.WhichOneof("result") for result in read.results] == ["profile", "profile"]
    assert all(result.profile == pb.Profile() for result in read.results)
    assert resolved.results[0].WhichOneof("result") == "customer_id"
    assert resolved.results[0].customer_id == ""


def test_attributes_keep_their_history_and_null_makes_them_missing(ask):
    async def main(stub, service):
        await stub.UpsertProfiles(
            upsert(
                update(age_band="19-24", kids_count="0", record_time=at(300)),
                update(age_band="25-34", record_time=at(200)),
                update(kids_count=None, record_time=at(100)),
            )
        )
        reads = [
            await stub.BatchGetProfiles(get("c1", as_of_time=at(ago))) for ago in (300, 250, 200, 150, 50)
        ]
        reads.append(await stub.BatchGetProfiles(get("c1")))
        return [plain(read.results[0].profile) for read in reads]

    young = {"age_band": "19-24", "kids_count": "0"}
    assert ask(main) == [
        {},
        young,
        young,
        {"age_band": "25-34", "kids_count": "0"},
        {"age_band": "25-34"},
        {"age_band": "25-34"},
    ]


def test_applying_an_update_twice_changes_nothing(ask):
    async def main(stub, service):
        reads = []
        for _ in range(2):
            answered = await stub.UpsertProfiles(
                upsert(update(cards=["1"], age_band="25-34", record_time=at(1)))
            )
            assert answered.results[0].customer_id == "c1"
            reads.append(await stub.BatchGetProfiles(get("c1")))
        return reads

    first, second = ask(main)
    assert first == second


def test_an_identity_of_another_customer_refuses_the_whole_item(ask):
    async def main(stub, service):
        answered = await stub.UpsertProfiles(
            upsert(update("c1", cards=["1"]), update("c2", cards=["2", "1"], age_band="25-34"), update("c3"))
        )
        resolved = await stub.ResolveIdentities(
            pb.ResolveIdentitiesRequest(
                identities=[card("2"), card("1"), pb.Identity(kind="card", value="1")]
            )
        )
        return answered, resolved, await stub.BatchGetProfiles(get("c2"))

    answered, resolved, read = ask(main)
    error = answered.results[1].error
    assert (error.code, error.reason) == (
        grpc.StatusCode.ALREADY_EXISTS.value[0],
        errors_pb2.ERROR_REASON_IDENTITY_TAKEN,
    )
    assert violations(error) == {"identities[1]": "identity (loyalty_card, ***) belongs to another customer"}
    assert answered.results[2].customer_id == "c3"
    assert [result.customer_id for result in resolved.results[:2]] == ["", "c1"]
    assert "kind" in violations(resolved.results[2].error)
    assert not read.results[0].profile.found


def test_one_bad_update_does_not_fail_the_others(ask):
    bad = update("", age_bnd="25-34", age_band=float("nan"), kids_count=1e300, record_time=at(-301))

    async def main(stub, service):
        return await stub.UpsertProfiles(upsert(update("c1"), bad, update("c2")))

    good, wrong, also_good = ask(main).results
    assert (good.customer_id, also_good.customer_id) == ("c1", "c2")
    assert wrong.error.reason == errors_pb2.ERROR_REASON_REQUEST_INVALID
    assert violations(wrong.error) == {
        "customer_id": "must have 1 to 128 characters",
        "record_time": "must lie at most five minutes ahead",
        "attributes.age_bnd": 'not in the playbook; did you mean "age_band"?',
        "attributes.age_band": "must be a string, not a number",
        "attributes.kids_count": "must be a string, not a number",
    }


def test_a_value_of_another_kind_is_called_what_it_is(ask):
    async def main(stub, service):
        return await stub.UpsertProfiles(upsert(update(age_band=["x"], kids_count={"x": 1})))

    assert violations(ask(main).results[0].error) == {
        "attributes.age_band": "must be a string, not a list",
        "attributes.kids_count": "must be a string, not a mapping",
    }


def test_a_withdrawal_binds_the_next_read(ask):
    async def main(stub, service):
        await stub.UpsertProfiles(upsert(update()))
        states = []
        for receipt_id, state, time in (
            ("r1", pb.CONSENT_STATE_GRANTED, at(-200)),
            ("r2", pb.CONSENT_STATE_WITHDRAWN, None),
            ("r3", pb.CONSENT_STATE_GRANTED, None),
            ("r4", pb.CONSENT_STATE_DENIED, at(0)),
        ):
            await stub.RecordConsents(record(consent(receipt_id, state, record_time=time)))
            read = await stub.BatchGetProfiles(get("c1"))
            states.append([(c.receipt_id, c.state) for c in read.results[0].profile.consents])
        return states

    assert ask(main) == [
        [("r1", pb.CONSENT_STATE_GRANTED)],
        [("r2", pb.CONSENT_STATE_WITHDRAWN)],
        [("r3", pb.CONSENT_STATE_GRANTED)],
        [("r4", pb.CONSENT_STATE_DENIED)],
    ]


@pytest.mark.parametrize("state", [pb.CONSENT_STATE_WITHDRAWN, pb.CONSENT_STATE_DENIED])
def test_a_refusal_from_a_slow_clock_binds_what_was_granted_before_it_arrived(ask, state):
    async def main(stub, service):
        await stub.UpsertProfiles(upsert(update()))
        await stub.RecordConsents(record(consent("r1")))
        await stub.RecordConsents(record(consent("r2", state, record_time=at(30))))
        read = await stub.BatchGetProfiles(get("c1"))
        return [(c.receipt_id, c.state) for c in read.results[0].profile.consents]

    assert ask(main) == [("r2", state)]


def test_consents_are_read_as_of_a_time_expired_ones_included(ask):
    sent = consent("r1", record_time=at(1_000), expire_time=at(900), source="web-form")

    async def main(stub, service):
        await stub.UpsertProfiles(upsert(update()))
        await stub.RecordConsents(
            record(sent, consent("r2", pb.CONSENT_STATE_WITHDRAWN, record_time=at(500)))
        )
        reads = [await stub.BatchGetProfiles(get("c1", as_of_time=at(ago))) for ago in (1_000, 600, 500, 499)]
        return [list(read.results[0].profile.consents) for read in reads]

    before, granted, still_granted, withdrawn = ask(main)
    assert before == []
    assert granted == still_granted == [sent.consent]
    assert [c.receipt_id for c in withdrawn] == ["r2"]


def test_receipts_are_idempotent_and_not_reusable(ask):
    async def main(stub, service):
        await stub.UpsertProfiles(upsert(update()))
        first = await stub.RecordConsents(record(consent("r1"), consent("r2", customer_id="nobody")))
        again = await stub.RecordConsents(record(consent("r1"), consent("r1", pb.CONSENT_STATE_DENIED)))
        return first, again

    (new, unknown), (duplicate, reused) = (response.results for response in ask(main))
    assert new.HasField("accepted")
    assert not new.accepted.duplicate
    assert unknown.error.reason == errors_pb2.ERROR_REASON_CUSTOMER_UNKNOWN
    assert unknown.error.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert duplicate.accepted.duplicate
    assert reused.error.reason == errors_pb2.ERROR_REASON_IDENTIFIER_REUSED
    assert reused.error.code == grpc.StatusCode.ALREADY_EXISTS.value[0]


def test_a_bad_consent_names_its_fields(ask):
    bad = consent("", pb.CONSENT_STATE_UNSPECIFIED, purpose="marketin", channel="mial", record_time=at(-301))
    unheard_of = consent("r1", record_time=Timestamp(seconds=-1))
    unheard_of.consent.state = 77

    async def main(stub, service):
        return await stub.RecordConsents(record(bad, unheard_of, pb.ConsentRecord()))

    first, second, empty = ask(main).results
    assert violations(first.error) == {
        "consent.receipt_id": "must have 1 to 128 characters",
        "consent.purpose": 'not in the playbook; did you mean "marketing"?',
        "consent.channel": 'not in the playbook; did you mean "mail"?',
        "consent.state": "must be GRANTED, DENIED or WITHDRAWN",
        "consent.record_time": "must lie at most five minutes ahead",
    }
    assert list(violations(second.error)) == ["consent.state", "consent.record_time"]
    assert {"customer_id", "consent.receipt_id", "consent.state"} <= violations(empty.error).keys()


def test_a_bad_key_does_not_fail_the_others(ask):
    async def main(stub, service):
        await stub.UpsertProfiles(upsert(update()))
        wrong = pb.CustomerKey(identity=pb.Identity(kind="loyality_card", value=""))
        return await stub.BatchGetProfiles(get(wrong, pb.CustomerKey(), "c" * 129, "c1"))

    *bad, good = ask(main).results
    assert [list(violations(result.error)) for result in bad] == [
        ["identity.kind", "identity.value"],
        ["key"],
        ["customer_id"],
    ]
    assert 'did you mean "loyalty_card"' in violations(bad[0].error)["identity.kind"]
    assert good.profile.found


@pytest.mark.parametrize(
    "time", [Timestamp(seconds=-1), Timestamp(seconds=4_102_444_801), Timestamp(seconds=1, nanos=-1)]
)
def test_reads_as_of_an_absurd_time_are_refused_whole(ask, time):
    error = failure(ask, "BatchGetProfiles", get("c1", as_of_time=time))
    assert (error.code().name, error_info(error).reason) == ("INVALID_ARGUMENT", "REQUEST_INVALID")
    assert list(bad_request(error)) == ["as_of_time"]


@pytest.mark.parametrize(
    ("rpc", "field", "limit", "request_of"),
    [
        ("UpsertProfiles", "updates", 10_000, lambda n: upsert(*[pb.ProfileUpdate()] * n)),
        ("RecordConsents", "records", 10_000, lambda n: record(*[pb.ConsentRecord()] * n)),
        ("BatchGetProfiles", "customers", 1_000, lambda n: get(*[pb.CustomerKey()] * n)),
        (
            "ResolveIdentities",
            "identities",
            1_000,
            lambda n: pb.ResolveIdentitiesRequest(identities=[pb.Identity()] * n),
        ),
    ],
)
def test_oversize_batches_are_refused_whole(ask, rpc, field, limit, request_of):
    error = failure(ask, rpc, request_of(limit + 1))
    assert (error.code().name, error_info(error).reason) == ("INVALID_ARGUMENT", "BATCH_TOO_LARGE")
    assert bad_request(error) == {field: f"{limit + 1} items, at most {limit}"}


@pytest.mark.parametrize(
    ("failing", "code", "reason"),
    [
        (StoreUnavailable("the profile store cannot be used: locked"), "UNAVAILABLE", "STORE_UNAVAILABLE"),
        (StoreOverloaded("the queue to the profile store is full"), "RESOURCE_EXHAUSTED", "OVERLOADED"),
    ],
)
def test_a_failing_store_is_named(connect, failing, code, reason):
    async def main():
        registry = CollectorRegistry()
        store = InMemoryProfiles()
        handlers = ProfileHandlers(
            store, PLAYBOOK, lambda: NOW, ProfileMetrics(registry), BorrowedValues(10), 0.0
        )
        servicer = ProfileServicer(handlers)
        service = Service(name="profile", descriptor=PROFILES, servicer=servicer, registry=registry)
        async with connect(service) as stub:
            store.failure = failing
            errors = []
            for call, request in (
                (stub.UpsertProfiles, upsert(update())),
                (stub.RecordConsents, record(consent("r1"))),
                (stub.BatchGetProfiles, get("c1")),
                (stub.ResolveIdentities, pb.ResolveIdentitiesRequest(identities=[card("1")])),
                (stub.ExportCustomer, pb.ExportCustomerRequest(customer_ids=["c1"])),
                (stub.EraseCustomer, pb.EraseCustomerRequest(customer_ids=["c1"])),
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
        await stub.UpsertProfiles(upsert(update("SECRET-1", cards=["SECRET-card"])))
        taken = await stub.UpsertProfiles(
            upsert(update("SECRET-2", cards=["SECRET-card"], age_band="SECRET"))
        )
        assert "SECRET" not in str(taken)
        await stub.RecordConsents(record(consent("SECRET-r", customer_id="SECRET-1"), consent("SECRET")))
        await stub.BatchGetProfiles(get("SECRET-1", pb.CustomerKey(identity=card("SECRET-card"))))
        return generate_latest(service.registry).decode()

    metrics = ask(main)
    assert 'tact_profile_reads_total{result="found"} 2.0' in metrics
    assert "tact_profile_waiting_writes 0.0" in metrics
    assert "SECRET" not in metrics
    assert caplog.records
    assert "SECRET" not in "".join(f"{logged.getMessage()} {logged.__dict__}" for logged in caplog.records)


def test_every_attribute_tells_its_time_and_source(ask, lending):
    async def main(stub, service):
        await stub.UpsertProfiles(
            upsert(
                update(source="crm", record_time=at(60), age=40.0, slogan="Hello"),
                update(source="partner", record_time=at(30), tariff="flat", mood="calm"),
            )
        )
        read = await stub.BatchGetProfiles(get("c1"))
        return read.results[0].profile.attributes

    attributes = ask(main, lending)
    assert {name: (found.source, found.record_time) for name, found in attributes.items()} == {
        "age": ("crm", at(60)),
        "slogan": ("crm", at(60)),
        "tariff": ("partner", at(30)),
        "mood": ("partner", at(30)),
    }


def test_a_timestamp_is_a_text_in_utc_and_needs_its_offset(ask, lending):
    async def main(stub, service):
        sent = [
            update("c1", joined="2026-03-01T11:00:00.5+01:00"),
            update("c2", joined="2026-03-01T11:00:00"),
        ]
        answered = await stub.UpsertProfiles(upsert(*sent))
        return answered, await stub.BatchGetProfiles(get("c1"))

    answered, read = ask(main, lending)
    assert plain(read.results[0].profile) == {"joined": "2026-03-01T10:00:00.500000Z"}
    assert list(violations(answered.results[1].error)) == ["attributes.joined"]


def test_a_copied_value_without_a_source_is_refused(ask, lending):
    async def main(stub, service):
        return await stub.UpsertProfiles(upsert(update(tariff="flat")))

    error = ask(main, lending).results[0].error
    assert error.reason == errors_pb2.ERROR_REASON_REQUEST_INVALID
    assert violations(error) == {"source": 'must say where copied attribute "tariff" comes from'}


def test_a_value_older_than_max_age_is_missing(ask, lending):
    async def main(stub, service):
        await stub.UpsertProfiles(
            upsert(
                update("c1", source="crm", record_time=at(3_600), tariff="flat"),
                update("c2", source="crm", record_time=at(3_599), tariff="flat"),
            )
        )
        reads = [await stub.BatchGetProfiles(get("c1", "c2", as_of_time=time)) for time in (None, at(-1))]
        return [[plain(result.profile) for result in read.results] for read in reads]

    assert ask(main, lending) == [[{}, {"tariff": "flat"}], [{}, {}]]


def test_consent_to_the_use_of_data_is_recorded_and_withdrawn_without_a_channel(ask, lending):
    data = {"purpose": "profiling", "channel": ""}

    async def main(stub, service):
        await stub.UpsertProfiles(upsert(update()))
        on_channel = consent("r0", purpose="profiling", channel="email")
        refused = await stub.RecordConsents(record(on_channel, consent("r0", channel="")))
        found = []
        for receipt_id, state in (("r1", pb.CONSENT_STATE_GRANTED), ("r2", pb.CONSENT_STATE_WITHDRAWN)):
            await stub.RecordConsents(
                record(consent(receipt_id, state, **data), consent(f"{receipt_id}-mail", channel="email"))
            )
            read = await stub.BatchGetProfiles(get("c1"))
            consents = read.results[0].profile.consents
            found.append({(c.purpose, c.channel): (c.receipt_id, c.state) for c in consents})
        return refused, found

    refused, (granted, withdrawn) = ask(main, lending)
    assert [list(violations(result.error)) for result in refused.results] == [["consent.channel"]] * 2
    assert granted["profiling", ""] == ("r1", pb.CONSENT_STATE_GRANTED)
    assert withdrawn["profiling", ""] == ("r2", pb.CONSENT_STATE_WITHDRAWN)
    assert withdrawn["marketing", "email"] == ("r2-mail", pb.CONSENT_STATE_GRANTED)


@pytest.mark.parametrize("place", ["file", "postgresql"])
def test_a_borrowed_value_is_in_no_file_log_or_metric_and_ends_with_the_process(
    ask, lending, place, tmp_path, caplog, capfd
):
    caplog.set_level(logging.DEBUG)
    kept, secret, lender = "KEPT-4d1f", "SECRET-9c2e", "LENDER-77ab"
    store = databases.emptied(databases.shared_postgresql()) if place == "postgresql" else ""

    def on_disk():
        content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        if store:
            content += databases.dumped(store).encode()
        assert kept.encode() in content
        return [word for word in (secret, lender, "mood") if word.encode() in content]

    async def write(stub, service):
        answered = await stub.UpsertProfiles(
            upsert(
                update("c1", tariff=kept, source="crm", cards=[]),
                update("c1", mood=secret, source=lender),
                update("c2", mood=secret, source=lender),
            )
        )
        refused = await stub.UpsertProfiles(upsert(update("c1", mood=secret, age=secret, source=lender)))
        read = await stub.BatchGetProfiles(get("c1", "c2"))
        exported = await stub.ExportCustomer(pb.ExportCustomerRequest(customer_ids=["c1", "c2"]))
        found = [on_disk()]
        if not store:
            with contextlib.closing(sqlite3.connect(tmp_path / "profile.sqlite")) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        found.append(on_disk())
        return answered, refused, read, exported, found, generate_latest(service.registry).decode()

    async def read_again(stub, service):
        return await stub.BatchGetProfiles(get("c1", "c2"))

    answered, refused, read, exported, found, metrics = ask(write, lending, store)
    assert [result.customer_id for result in answered.results] == ["c1", "c1", "c2"]
    assert refused.results[0].HasField("error")
    assert [plain(result.profile).get("mood") for result in read.results] == [secret, secret]
    after = ask(read_again, lending, store)
    assert [plain(result.profile) for result in after.results] == [{"tariff": kept}, {}]
    assert after.results[1].profile.found
    assert [*found, on_disk()] == [[], [], []]
    assert (tmp_path / "profile.sqlite").exists() is not bool(store)
    assert "tact_profile_borrowed_values 2.0" in metrics
    logged = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "UpsertProfiles" in logged
    printed = "".join(capfd.readouterr())
    assert kept in str(exported)
    for word in (secret, lender):
        assert word not in metrics + logged + printed + str(refused) + str(exported)


def test_a_customer_is_exported_page_by_page_and_erased_whole(ask):
    async def main(stub, service):
        await stub.UpsertProfiles(
            upsert(update("c1", cards=["1"], age_band="25-34", source="crm"), update("c2", cards=["2"]))
        )
        await stub.RecordConsents(record(consent("r1")))
        await stub.LinkIdentities(
            pb.LinkIdentitiesRequest(
                link_id="l-1",
                customer=pb.CustomerKey(customer_id="c1"),
                other=pb.CustomerKey(customer_id="c2"),
            )
        )
        exported = await stub.ExportCustomer(pb.ExportCustomerRequest(customer_ids=["c1", "c2"]))
        start = monotonic()
        erased = await stub.EraseCustomer(pb.EraseCustomerRequest(customer_ids=["c1", "c2"]))
        again = await stub.EraseCustomer(pb.EraseCustomerRequest(customer_ids=["c1", "c2"]))
        waited = monotonic() - start
        return exported, erased, again, waited, await stub.BatchGetProfiles(get("c1", "c2"))

    exported, erased, again, waited, read = ask(main)
    rows = [(row.table, json.loads(row.row)) for row in exported.rows]
    assert exported.next_page_token == ""
    assert ("identities", {"kind": "loyalty_card", "value": "1", "customer_id": "c1"}) in rows
    assert [row["receipt_id"] for table, row in rows if table == "consents"] == ["r1"]
    counts = Counter(table for table, _ in rows)
    assert {one.table: one.rows for one in erased.erased} == {
        table.name: counts[table.name] for table in TABLES
    }
    assert [(one.table, one.rows) for one in again.erased] == [(table.name, 0) for table in TABLES]
    assert waited >= 2 * LEASE_SECONDS
    assert not any(result.profile.found for result in read.results)


@pytest.mark.parametrize(
    ("rpc", "asked", "field"),
    [
        ("ExportCustomer", pb.ExportCustomerRequest(), "customer_ids"),
        ("ExportCustomer", pb.ExportCustomerRequest(customer_ids=["c1"], **NO_TOKEN), "page_token"),
        ("EraseCustomer", pb.EraseCustomerRequest(customer_ids=["c1", ""]), "customer_ids[1]"),
        ("EraseCustomer", pb.EraseCustomerRequest(customer_ids=["c2"]), "customer_ids"),
    ],
    ids=["nobody", "token", "empty", "member"],
)
def test_what_cannot_be_exported_or_erased_names_its_field(ask, rpc, asked, field):
    async def main(stub, service):
        await stub.UpsertProfiles(upsert(update("c1"), update("c2")))
        one, two = (pb.CustomerKey(customer_id=name) for name in ("c1", "c2"))
        await stub.LinkIdentities(pb.LinkIdentitiesRequest(link_id="l-1", customer=one, other=two))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await getattr(stub, rpc)(asked)
        return failed.value, await stub.BatchGetProfiles(get("c2"))

    error, read = ask(main)
    assert (error.code().name, error_info(error).reason) == ("INVALID_ARGUMENT", "REQUEST_INVALID")
    assert list(bad_request(error)) == [field]
    assert list(read.results[0].profile.member_ids) == ["c1", "c2"]


def test_a_service_on_postgresql_serves_from_there(ask, tmp_path):
    store = databases.emptied(databases.shared_postgresql())

    async def write(stub, service):
        await stub.UpsertProfiles(upsert(update(cards=["1"], age_band="25-34", record_time=at(60))))
        await stub.RecordConsents(record(consent("r1")))
        return generate_latest(service.registry).decode()

    async def look(stub, service):
        return await stub.BatchGetProfiles(get("c1", pb.CustomerKey(identity=card("1"))))

    assert "tact_profile_waiting_writes 0.0" in ask(write, store=store)
    one, two = (result.profile for result in ask(look, store=store).results)
    assert one == two
    assert plain(one) == {"age_band": "25-34"}
    assert [given.receipt_id for given in one.consents] == ["r1"]
    assert not list(tmp_path.iterdir())
