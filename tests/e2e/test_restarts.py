"""PostgreSQL, Redis and NATS restart and die while feature services that share them work, and so do those."""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

import grpc
import own_servers
import psycopg
import streams
import worlds
from deciding import request
from google.protobuf.timestamp_pb2 import Timestamp
from tact.decision.v1 import decision_service_pb2 as decision_pb
from tact.features.v1 import feature_service_pb2 as pb

from services.chassis.clients import GrpcStub, channel
from tests.playbooks import load_playbook

ROOT = Path(__file__).parents[2]
SERVICE = pb.DESCRIPTOR.services_by_name["FeatureService"]
PATIENCE_SECONDS = 120.0
CALL_SECONDS = 2.0
CUSTOMERS = [f"c{number}" for number in range(7)]
ORDERS = {"orders": {"kind": "count", "event": "order", "window": "90d"}}


class Worker:
    """A feature service as a process, which a test may kill and start again."""

    def __init__(self, name, folder, environ):
        self._port = streams.free_port()
        own = {"TACT_HOME": str(folder / name), "TACT_FEATURES_PORT": str(self._port)}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("TACT_")}
        self._environ = inherited | environ | own | {"TACT_FEATURES_METRICS_PORT": "0"}
        self._process = None
        self.log = folder / f"{name}.log"

    async def start(self):
        with self.log.open("a") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.features", cwd=ROOT, env=self._environ, stderr=log
            )

    async def kill(self):
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def restart(self):
        await self.kill()
        await self.start()

    @contextlib.asynccontextmanager
    async def stub(self):
        async with channel(f"127.0.0.1:{self._port}", SERVICE) as opened:
            yield GrpcStub(opened, SERVICE, CALL_SECONDS)


class Load:
    """Ingests, publishes and reads until it is told to stop; remembers what was acknowledged."""

    def __init__(self, stubs, bench, version):
        self._stubs, self._bench, self._version = stubs, bench, version
        self._numbers = itertools.count()
        self._draw = random.Random(20_261_128)
        self.acknowledged = dict.fromkeys(CUSTOMERS, 0)
        self.sequences = {}
        self.published = dict.fromkeys(CUSTOMERS, 0)
        self.reads = 0
        self.failures = 0
        self.ending = asyncio.Event()

    def event(self):
        number = next(self._numbers)
        return streams.order(
            number,
            customer_id=self._draw.choice(CUSTOMERS),
            event_time=Timestamp(seconds=int(time.time()) - self._draw.randrange(80 * 86_400)),
        )

    async def ingest(self):
        while not self.ending.is_set():
            batch = [self.event() for _ in range(self._draw.randrange(1, 6))]
            while True:
                try:
                    answer = await self._draw.choice(self._stubs).IngestEvents(
                        pb.IngestEventsRequest(events=batch)
                    )
                    break
                except grpc.aio.AioRpcError as error:
                    self.failures += is_failure(error)
                    await asyncio.sleep(0.02)
            for event, result in zip(batch, answer.results, strict=True):
                self.sequences[event.event_id] = result.accepted.sequence
                assert result.accepted.sequence, result
                self.acknowledged[event.customer_id] += 1

    async def publish(self):
        while not self.ending.is_set():
            event = self.event()
            await self._bench.publish(event)
            self.published[event.customer_id] += 1

    async def read(self):
        while not self.ending.is_set():
            asked = self._draw.sample(CUSTOMERS, 3)
            before = [self.acknowledged[customer_id] for customer_id in asked]
            try:
                counts = await self.counts(self._draw.choice(self._stubs), asked)
            except grpc.aio.AioRpcError as error:
                is_failure(error)
                await asyncio.sleep(0.02)
                continue
            self.reads += 1
            assert all(count >= known for count, known in zip(counts, before, strict=True)), (counts, before)

    async def counts(self, stub, asked):
        keys = [pb.FeatureKey(customer_id=customer_id) for customer_id in asked]
        answer = await stub.BatchGetFeatures(
            pb.BatchGetFeaturesRequest(customers=keys, playbook_version=self._version)
        )
        return [memoryview(result.vectors.customer_vector).cast("d")[0] for result in answer.results]


FAILURES = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    # A server that is killed amid a call.
    grpc.StatusCode.CANCELLED,
}


def is_failure(error):
    """Tell a call that failed as it may; any other failure is the test's."""
    assert error.code() in FAILURES, error
    return True


async def empty(redis):
    """Lose all that Redis holds, while it goes on."""
    await asyncio.to_thread(redis.empty)


async def freeze(server):
    """Let a server fall silent for a while."""
    server.send(signal.SIGSTOP)
    await asyncio.sleep(1.5)
    server.send(signal.SIGCONT)


def test_whatever_restarts_in_mid_load_nothing_acknowledged_is_lost_or_counted_twice(tmp_path):
    book = load_playbook(tmp_path / "shop", ("features", "features", ORDERS), ("policies", {}))

    async def main(postgresql, redis):
        async with asyncio.timeout(PATIENCE_SECONDS), contextlib.AsyncExitStack() as stack:
            nats = await stack.enter_async_context(streams.server(tmp_path / "nats"))
            await nats.start()
            bench = await stack.enter_async_context(streams.bench(nats.url))
            environ = {
                "TACT_PLAYBOOK": str(tmp_path / "shop"),
                "TACT_FEATURES_STORE": postgresql.url,
                "TACT_FEATURES_STATE": redis.url,
                **{f"TACT_{key.upper()}": str(value) for key, value in prefixed(bench.settings).items()},
            }
            workers = [Worker(name, tmp_path, environ) for name in ("one", "two")]
            for worker in workers:
                await worker.start()
                stack.push_async_callback(worker.kill)
            stubs = [await stack.enter_async_context(worker.stub()) for worker in workers]
            for stub in stubs:
                await answering(stub, book.version)
            load = Load(stubs, bench, book.version)
            faults = [
                lambda: empty(redis),
                redis.restart,
                workers[0].restart,
                lambda: freeze(redis),
                postgresql.restart,
                lambda: nats.stop(),
                nats.start,
                lambda: postgresql.restart(signal.SIGINT),
                workers[1].restart,
                lambda: freeze(postgresql),
                lambda: asyncio.gather(*(worker.restart() for worker in workers)),
            ]
            async with asyncio.TaskGroup() as tasks:
                for work in (load.ingest, load.ingest, load.ingest, load.publish, load.read, load.read):
                    tasks.create_task(work())
                for fault in faults:
                    reads = load.reads
                    await fault()
                    await streams.until(lambda reads=reads: load.reads >= reads + 20)
                load.ending.set()
            await bench.drained()
            expected = [load.acknowledged[each] + load.published[each] for each in CUSTOMERS]
            found = [await load.counts(stub, CUSTOMERS) for stub in stubs]
            return load, expected, found

    with own_servers.postgresql() as postgresql, own_servers.own_redis() as redis:
        postgresql.start()
        redis.start()
        load, expected, found = asyncio.run(main(postgresql, redis))
        with psycopg.connect(postgresql.url) as store:
            rows = store.execute("SELECT event_id, sequence FROM features.events").fetchall()
    assert found == [expected, expected]
    assert len(rows) == sum(expected)
    assert sorted(sequence for _, sequence in rows) == list(range(1, len(rows) + 1))
    assert dict(rows).items() >= load.sequences.items()
    assert load.failures
    assert sum(load.published.values()) > 50


def prefixed(settings):
    return {f"features_{key}": value for key, value in settings.items()}


async def answering(stub, version):
    """Wait until a service answers."""
    while True:
        try:
            await stub.BatchGetFeatures(pb.BatchGetFeaturesRequest(playbook_version=version))
            return
        except grpc.aio.AioRpcError as error:
            is_failure(error)
            await asyncio.sleep(0.1)


def test_while_state_or_events_are_lost_answers_say_what_they_rest_on_and_no_count_is_zero(tmp_path):
    uri, shop = worlds.register_model(tmp_path), worlds.write_shop(tmp_path / "shop")
    known, unseen = worlds.CUSTOMERS[:10], worlds.CUSTOMERS[10:20]

    async def main(postgresql, redis):
        environ = {"TACT_FEATURES_STORE": postgresql.url, "TACT_FEATURES_STATE": redis.url}
        world = worlds.Processes(tmp_path / "home", shop, uri, environ=environ)
        async with asyncio.timeout(worlds.PATIENCE_SECONDS), world:
            await worlds.populate(world.stubs["profile"], world.stubs["features"])

            async def served(customers):
                asked = [request(each, mode="DECISION_MODE_DRY_RUN", at=worlds.NOON) for each in customers]
                answers = [await world.stubs["gateway"].Decide(each, timeout=5.0) for each in asked]
                levels = {decision_pb.ServedBy.Name(answer.served_by) for answer in answers}
                ranked = [[(a.action_id, a.propensity) for a in answer.actions] for answer in answers]
                return levels, ranked, {d.source for answer in answers for d in answer.degradations}

            whole = await served(known)
            await empty(redis)
            assert await served(known) == whole
            await asyncio.to_thread(redis.stop)
            assert await served(known) == whole
            await asyncio.to_thread(postgresql.stop)
            without = [await served(customers) for customers in (known, unseen)]
            await asyncio.to_thread(postgresql.start)
            await asyncio.to_thread(redis.start)
            await streams.until(lambda: back(served, known, whole))
            return whole, without

    async def back(served, customers, whole):
        return await served(customers) == whole

    with own_servers.postgresql() as postgresql, own_servers.own_redis() as redis:
        postgresql.start()
        redis.start()
        whole, (last_good, priors) = asyncio.run(main(postgresql, redis))
    assert whole[0] == {"SERVED_BY_MODEL"}
    assert whole[2] == set()
    # Features of a moment ago stand in, so the answers are the same, and say so.
    assert last_good == (
        {"SERVED_BY_LAST_GOOD_FEATURES"},
        whole[1],
        {decision_pb.DEGRADATION_SOURCE_FEATURES},
    )
    assert priors[0] <= {"SERVED_BY_PRIORS"}
    assert priors[2] == {decision_pb.DEGRADATION_SOURCE_FEATURES}
