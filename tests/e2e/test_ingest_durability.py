"""The services as processes of their own, killed while they take in data."""

import asyncio
import contextlib
import json
import os
import random
import sqlite3
import struct
import sys
from collections import Counter
from pathlib import Path

import databases
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.chassis.clients import GrpcStub, channel
from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.loader import load, shipped

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120.0
BATCH = 100
KILLS = 3
IN_FLIGHT = 4
SERVICES = {
    "features": features_pb.DESCRIPTOR.services_by_name["FeatureService"],
    "profile": profile_pb.DESCRIPTOR.services_by_name["ProfileService"],
}


class Process:
    """One service of its own, with what it wrote to its log."""

    def __init__(self, name, home, store=""):
        self.name = name
        self.home = home
        self.store = store
        self.log = []

    async def __aenter__(self):
        prefix = f"TACT_{self.name.upper()}"
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"services.{self.name}",
            cwd=ROOT,
            env={
                **os.environ,
                "TACT_HOME": str(self.home),
                f"{prefix}_PORT": "0",
                f"{prefix}_METRICS_PORT": "0",
                **({f"{prefix}_STORE": self.store} if self.store else {}),
            },
            stderr=asyncio.subprocess.PIPE,
        )
        self._port = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *failure):
        self.kill()
        await self.process.wait()
        await self._reading

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    @contextlib.asynccontextmanager
    async def stub(self):
        descriptor = SERVICES[self.name]
        async with channel(f"127.0.0.1:{await self._port}", descriptor) as opened:
            yield GrpcStub(opened, descriptor, PATIENCE_SECONDS)

    async def _read(self):
        async for line in self.process.stderr:
            self.log.append(line.decode())
            if not self._port.done() and '"serving"' in self.log[-1]:
                self._port.set_result(json.loads(line)["port"])
        if not self._port.done():
            self._port.set_exception(AssertionError("".join(self.log)))
            self._port.exception()


def run(main):
    async def bounded():
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await main()

    return asyncio.run(bounded())


async def stream(process, work, answers):
    """Send the work, several pieces at a time, and kill the process after so many ``answers``."""

    async def send():
        for piece in work:
            try:
                await piece()
            except grpc.aio.AioRpcError:
                return
            answers[0] -= 1
            if not answers[0]:
                process.kill()

    await asyncio.gather(*(send() for _ in range(IN_FLIGHT)))
    assert answers[0] <= 0, process.log


def purchases(first):
    request = features_pb.IngestEventsRequest()
    for number in range(first, first + BATCH):
        event = request.events.add(
            event_id=f"SECRET-event-{number}",
            customer_id=f"SECRET-customer-{number % 7}",
            type="purchase",
            event_time=Timestamp(seconds=1_500_000_000 + number),
        )
        event.attributes["quantity"].number_value = 1
    return request


def test_no_acknowledged_event_is_lost_or_doubled_by_kill_9(tmp_path):
    draw = random.Random(20_251_121)
    sent, acknowledged, log = [], {}, []

    def remember(request, response):
        for event, result in zip(request.events, response.results, strict=True):
            accepted = result.accepted
            assert accepted.sequence
            assert acknowledged.setdefault(event.event_id, accepted.sequence) == accepted.sequence

    async def ingest(stub):
        request = purchases(len(sent) * BATCH)
        sent.append(request)
        remember(request, await stub.IngestEvents(request))

    async def main():
        for _ in range(KILLS):
            async with Process("features", tmp_path) as process, process.stub() as stub:
                known = set(acknowledged)
                for request in sent:
                    response = await stub.IngestEvents(request)
                    for event, result in zip(request.events, response.results, strict=True):
                        assert result.accepted.duplicate or event.event_id not in known
                    remember(request, response)
                work = iter(lambda: lambda: ingest(stub), None)
                await stream(process, work, [draw.randrange(4, 16)])
                log.extend(process.log)
        async with Process("features", tmp_path) as process, process.stub() as stub:
            for request in sent:
                remember(request, await stub.IngestEvents(request))
            return await served(stub)

    async def served(stub):
        playbook = load(shipped("retail"))
        place = FeatureSet(playbook).customer_names.index("quantity_90d")
        keys = [
            features_pb.FeatureKey(
                customer_id=f"SECRET-customer-{number}", as_of_time=Timestamp(seconds=1_501_000_000)
            )
            for number in range(7)
        ]
        request = features_pb.BatchGetFeaturesRequest(customers=keys, playbook_version=playbook.version)
        response = await stub.BatchGetFeatures(request)
        return [
            struct.unpack_from("<d", result.vectors.customer_vector, 8 * place)[0]
            for result in response.results
        ]

    counts = run(main)
    with contextlib.closing(sqlite3.connect(tmp_path / "features.sqlite")) as store:
        stored = store.execute("SELECT event_id, sequence, customer_id FROM events").fetchall()
    assert len(stored) == len(sent) * BATCH
    assert {event_id: sequence for event_id, sequence, _ in stored} == acknowledged
    per_customer = Counter(customer_id for *_, customer_id in stored)
    assert counts == [per_customer[f"SECRET-customer-{number}"] for number in range(7)]
    assert any("IngestEvents" in line for line in log)
    assert "SECRET" not in "".join(log)


@pytest.fixture(params=["file", "postgresql"])
def profile_store(request):
    """Where profiles are kept, as the setting says it."""
    if request.param == "file":
        yield ""
    else:
        with databases.postgresql() as url:
            yield url


def test_no_acknowledged_profile_or_consent_is_lost_by_kill_9(tmp_path, profile_store):
    draw = random.Random(20_251_122)
    numbers = iter(range(0, 10**9, BATCH))
    profiles, consents, log = set(), set(), []

    def updates(first):
        return profile_pb.UpsertProfilesRequest(
            updates=[
                profile_pb.ProfileUpdate(
                    customer_id=f"SECRET-{number}",
                    identities=[profile_pb.Identity(kind="loyalty_card", value=f"SECRET-{number}")],
                )
                for number in range(first, first + BATCH)
            ]
        )

    def receipts(first):
        granted = {"purpose": "marketing", "channel": "mail", "state": profile_pb.CONSENT_STATE_GRANTED}
        return profile_pb.RecordConsentsRequest(
            records=[
                profile_pb.ConsentRecord(
                    customer_id=f"SECRET-{number}",
                    consent=profile_pb.Consent(receipt_id=f"SECRET-{number}", **granted),
                )
                for number in range(first, first + BATCH)
            ]
        )

    async def write(stub):
        first = next(numbers)
        response = await stub.UpsertProfiles(updates(first))
        assert all(result.customer_id for result in response.results)
        profiles.add(first)
        response = await stub.RecordConsents(receipts(first))
        assert all(result.HasField("accepted") for result in response.results)
        consents.add(first)

    async def verify(stub):
        for first in profiles:
            cards = [
                profile_pb.CustomerKey(
                    identity=profile_pb.Identity(kind="loyalty_card", value=f"SECRET-{number}")
                )
                for number in range(first, first + BATCH)
            ]
            response = await stub.BatchGetProfiles(profile_pb.BatchGetProfilesRequest(customers=cards))
            for number, result in enumerate(response.results, start=first):
                assert result.profile.customer_id == f"SECRET-{number}"
                if first in consents:
                    assert [c.receipt_id for c in result.profile.consents] == [f"SECRET-{number}"]
        for first in consents:
            response = await stub.RecordConsents(receipts(first))
            assert all(result.accepted.duplicate for result in response.results)

    async def main():
        for _ in range(KILLS):
            async with serving() as process, process.stub() as stub:
                await verify(stub)
                await stream(process, iter(lambda: lambda: write(stub), None), [draw.randrange(3, 12)])
                log.extend(process.log)
        async with serving() as process, process.stub() as stub:
            await verify(stub)

    def serving():
        return Process("profile", tmp_path, profile_store)

    run(main)
    assert len(consents) >= KILLS
    assert (tmp_path / "profile.sqlite").exists() is not bool(profile_store)
    assert any("RecordConsents" in line for line in log)
    assert "SECRET" not in "".join(log)


def test_a_second_feature_process_on_one_store_refuses_to_start(tmp_path):
    async def main():
        async with Process("features", tmp_path) as first, first.stub() as stub:
            async with Process("features", tmp_path) as second:
                code = await second.process.wait()
            await stub.DescribeFeatures(features_pb.DescribeFeaturesRequest())
            return code, second.log[-1], first.process.pid

    code, said, pid = run(main)
    assert code == 1
    assert said.startswith("features cannot start: ")
    assert f"is served by another process (pid {pid})" in said


@pytest.mark.parametrize("name", SERVICES)
def test_a_misspelt_setting_refuses_to_start(name, tmp_path, monkeypatch):
    monkeypatch.setenv(f"TACT_{name.upper()}_PROT", "1")

    async def main():
        async with Process(name, tmp_path) as process:
            return await process.process.wait(), process.log

    code, log = run(main)
    assert code == 1
    assert f"did you mean TACT_{name.upper()}_PORT?" in log[-1]
