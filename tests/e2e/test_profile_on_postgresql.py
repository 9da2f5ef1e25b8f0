"""The profile service as processes of their own on one PostgreSQL database."""

import asyncio
import time

import databases
import grpc
import pytest
from detours import Detour
from tact.profile.v1 import profile_service_pb2 as pb
from test_ingest_durability import Process, run

from services.chassis.faults import error_info

SECONDS = 2.0


@pytest.fixture
def url():
    with databases.postgresql() as url:
        yield url


def upsert(*names, card=""):
    identities = [pb.Identity(kind="loyalty_card", value=card)] if card else []
    updates = [pb.ProfileUpdate(customer_id=name, identities=identities) for name in names]
    return pb.UpsertProfilesRequest(updates=updates)


def get(*names):
    return pb.BatchGetProfilesRequest(customers=[pb.CustomerKey(customer_id=name) for name in names])


def link(link_id, one, two):
    customer, other = (pb.CustomerKey(customer_id=name) for name in (one, two))
    return pb.LinkIdentitiesRequest(link_id=link_id, customer=customer, other=other)


async def found(stub, *names):
    answer = await stub.BatchGetProfiles(get(*names))
    return [result.profile.customer_id for result in answer.results]


def test_what_one_process_acknowledged_binds_every_other(url, tmp_path):
    async def main():
        async with (
            Process("profile", tmp_path, url) as one,
            Process("profile", tmp_path, url) as two,
            one.stub() as first,
            two.stub() as second,
        ):
            await first.UpsertProfiles(upsert("a", "b"))
            answers = await asyncio.gather(
                first.UpsertProfiles(upsert("a", card="1")), second.UpsertProfiles(upsert("b", card="1"))
            )
            assert sum(bool(answer.results[0].customer_id) for answer in answers) == 1
            answers = await asyncio.gather(
                first.LinkIdentities(link("l-1", "a", "b")), second.LinkIdentities(link("l-2", "b", "a"))
            )
            assert sorted(answer.duplicate for answer in answers) == [False, True]
            assert len({answer.customer_id for answer in answers}) == 1
            assert await found(first, "a", "b") == await found(second, "b", "a")
            await second.EraseCustomer(pb.EraseCustomerRequest(customer_ids=["a", "b"]))
            assert await found(first, "a", "b") == ["", ""]

    run(main)


def test_a_store_that_falls_silent_is_named_in_time_and_what_was_refused_is_not_done_later(url, tmp_path):
    async def refused(call):
        start = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        assert time.monotonic() - start < SECONDS
        error = failed.value
        assert (error.code().name, error_info(error).reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert "PostgreSQL tact_test_" in error.details()
        assert "127.0.0.1" not in error.details()

    erasure = pb.EraseCustomerRequest(customer_ids=["a"])

    async def main():
        async with Detour(5432) as detour:
            by_detour = databases.by_way_of(url, port=detour.port)
            async with Process("profile", tmp_path, by_detour) as process, process.stub() as stub:
                await stub.UpsertProfiles(upsert("a"))
                detour.hold()
                try:
                    await asyncio.gather(
                        refused(stub.UpsertProfiles(upsert("b"), timeout=SECONDS)),
                        refused(stub.BatchGetProfiles(get("a"), timeout=SECONDS)),
                        refused(stub.EraseCustomer(erasure, timeout=SECONDS)),
                    )
                finally:
                    detour.release()
                while True:
                    try:
                        names = await found(stub, "a", "b")
                    except grpc.aio.AioRpcError:
                        continue
                    break
                assert names == ["a", ""]
                await stub.UpsertProfiles(upsert("b"))
                assert await found(stub, "a", "b") == ["a", "b"]

    run(main)


def test_a_service_without_its_store_refuses_to_start_and_tells_no_password(tmp_path):
    async def main():
        url = "postgresql://tact:hush-hush@127.0.0.1:1/tact"
        async with Process("profile", tmp_path, url) as process:
            return await process.process.wait(), process

    code, process = run(main)
    assert code == 1
    assert process.log == ["profile cannot start: PostgreSQL tact: Connection refused\n"]
