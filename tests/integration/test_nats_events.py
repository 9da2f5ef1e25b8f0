"""Events come from a real NATS: each is stored once, whatever happens to the server, the store or us."""

import asyncio
import contextlib
import json
import logging
import random
import urllib.request
from datetime import UTC, datetime

import grpc
import pytest
from detours import Detour
from google.protobuf.json_format import MessageToJson
from happenings import FeatureProcess, stored
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError
from prometheus_client import CollectorRegistry
from streams import PATIENCE_SECONDS, bench, order, server, until
from tact.features.v1 import feature_service_pb2 as pb

from services.chassis.inprocess import InProcessStub
from services.engine.playbook.loader import load
from services.features.adapters.nats_events import EventConsumer, consuming
from services.features.adapters.nats_letters import NatsLetters
from services.features.app import addresses_of, open_service
from services.features.fakes import InMemoryEvents, NoState
from services.features.handlers import FeatureHandlers
from services.features.metrics import FeatureMetrics
from services.features.ports import StoreOverloaded, StoreUnavailable
from services.features.settings import FeatureSettings
from tests.playbooks import write_playbook

NOW = 1_750_000_000_000_000
KILLS = 2


@pytest.fixture(scope="module")
def playbook(tmp_path_factory):
    return write_playbook(tmp_path_factory.mktemp("book"))


def run(main):
    async def bounded():
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            return await main()

    return asyncio.run(bounded())


def sample(registry, name, **labels):
    return registry.get_sample_value(f"tact_features_stream_{name}", labels)


@contextlib.asynccontextmanager
async def service(home, playbook, settings):
    """Run the feature service; yields a stub and its metrics."""
    async with open_service(FeatureSettings(home=home, **settings), load(playbook), lambda: NOW) as opened:
        yield InProcessStub(opened, PATIENCE_SECONDS), opened.registry


class Consumed:
    """A consumer over a store that can be made to fail."""

    def __init__(self, bench, playbook):
        self.store, self.registry = InMemoryEvents(), CollectorRegistry()
        metrics = FeatureMetrics(self.registry)
        self._handlers = FeatureHandlers(self.store, NoState(), load(playbook), lambda: NOW, metrics)
        self.stumbles_at = None
        addresses = addresses_of(FeatureSettings(**bench.settings))
        self.consumer = EventConsumer(addresses, self._ingest, self._now, metrics.stream)

    async def _ingest(self, incoming):
        events = list(incoming)
        if any(event.event_id == self.stumbles_at for event in events):
            raise RuntimeError("a defect")
        return await self._handlers.ingest(events)

    @staticmethod
    def _now():
        return round(datetime.now(UTC).timestamp() * 1e6)

    @property
    def ids(self):
        return [event.event_id for event in self.store.events.values()]

    def sample(self, name, **labels):
        return sample(self.registry, name, **labels)


def test_protos_and_json_are_stored_once_however_often_they_come(tmp_path, playbook):
    async def main():
        async with bench() as nats, service(tmp_path, playbook, nats.settings) as (stub, registry):
            events = [order(number) for number in range(40)]
            random.Random(5).shuffle(events)
            await nats.publish(*events, *(MessageToJson(event).encode() for event in events), *events[:9])
            await nats.drained()
            await nats.publish(order(40, event_id="late"))
            await nats.drained()
            described = await stub.DescribeFeatures(pb.DescribeFeaturesRequest())
            assert described.sequence == 41
            assert sample(registry, "messages_total", result="applied") == 90.0
            assert sample(registry, "messages_total", result="dead") == 0.0
            assert sample(registry, "connected") == 1.0
            assert sample(registry, "applied_timestamp_seconds") == NOW / 1e6

    run(main)
    rows = stored(tmp_path)
    assert rows.keys() == {f"e{number}" for number in range(40)} | {"late"}
    assert rows["e7"] == ("c0", "order", 1_740_000_007_000_000, '{"items":2}')


def test_what_a_stream_brings_is_served_as_what_a_call_brings(tmp_path, playbook):
    async def main():
        answers = []
        events = [order(number) for number in range(30)]
        async with bench() as nats, service(tmp_path / "stream", playbook, nats.settings) as (stub, _):
            await nats.publish(*reversed(events))
            await nats.drained()
            answers.append(await vectors(stub))
        async with service(tmp_path / "call", playbook, {}) as (stub, _):
            await stub.IngestEvents(pb.IngestEventsRequest(events=events))
            answers.append(await vectors(stub))
        return answers

    async def vectors(stub):
        keys = [
            pb.FeatureKey(customer_id=f"c{n}", as_of_time={"seconds": 1_740_000_020 + n}) for n in range(7)
        ]
        request = pb.BatchGetFeaturesRequest(customers=keys, playbook_version=load(playbook).version)
        return [result.vectors for result in (await stub.BatchGetFeatures(request)).results]

    streamed, called = run(main)
    assert len(streamed) == 7
    assert streamed == called


def given(**attributes):
    """Make an order with other attributes."""
    return order(1, attributes={name: {"string_value": value} for name, value in attributes.items()})


POISON = {
    b"\xff\xff garbage": ("UNREADABLE", ""),
    b"{ no json": ("UNREADABLE", ""),
    b'{"event_id": "x", "colour": 1}': ("UNREADABLE", ""),
    b'{"event_id": "\xff"}': ("UNREADABLE", ""),
    b"{" * 5_000: ("UNREADABLE", ""),
    b"": ("INVALID", "event_id"),
    order(1, type="ordr").SerializeToString(): ("INVALID", "type"),
    order(2, event_time={"seconds": 4_000_000_000}).SerializeToString(): ("INVALID", "event_time"),
    given(itmes="1").SerializeToString(): ("INVALID", "attributes.itmes"),
    given(gift="yes").SerializeToString(): ("INVALID", "attributes.gift"),
    given(shop="x" * 9_999).SerializeToString(): ("INVALID", "attributes.shop"),
    order(0, customer_id="another").SerializeToString(): ("REUSED", "event_id"),
}


def test_poison_is_buried_with_its_reason_and_holds_up_nothing(tmp_path, playbook, caplog):
    caplog.set_level(logging.INFO, "tact")

    async def main():
        async with bench() as nats, service(tmp_path, playbook, nats.settings) as (_, registry):
            await nats.publish(order(0))
            await nats.drained()
            for number, payload in enumerate(POISON):
                await nats.publish(payload, order(100 + number))
            await nats.drained()
            letters = await nats.dead_letters(len(POISON))
            counts = {
                reason: sample(registry, "dead_letters_total", reason=reason)
                for reason in ("unreadable", "too_large", "invalid", "reused", "defect")
            }
            assert counts == {"unreadable": 5, "too_large": 0, "invalid": 6, "reused": 1, "defect": 0}
            assert sample(registry, "messages_total", result="dead") == len(POISON)
            return letters, nats

    letters, nats = run(main)
    assert stored(tmp_path).keys() == {"e0"} | {f"e{100 + number}" for number in range(len(POISON))}
    found = {}
    for letter in letters:
        headers = letter.headers
        violations = json.loads(headers["Tact-Violations"])
        assert all(violation["description"] for violation in violations)
        assert headers["Tact-Stream"] == nats.stream
        assert headers["Tact-Subject"] == nats.subject
        assert int(headers["Tact-Stream-Sequence"]) > 0
        assert "Tact-Cut-From-Bytes" not in headers
        found[letter.data or b""] = headers["Tact-Reason"], violations[0]["field"]
    assert found == POISON
    assert "dead letters" in caplog.messages


OF_ANNA = (
    b'{"eventId": "x", "customerId": "anna", "colour": 1}',
    b"\xff anna, and no more",
    order(1, customer_id="anna", type="ordr").SerializeToString(),
    order(0, customer_id="bj\u00f6rn 2").SerializeToString(),
    order(2, customer_id="bj\u00f6rn 2").SerializeToString() + b"\x99",
)
OF_OTHERS = (
    b'{"customerId": "bob", "colour": "anna"}',
    b"\xff of nobody",
    order(3, customer_id="cleo", attributes={"itmes": {"string_value": "anna"}}).SerializeToString(),
    b"",
)


def test_dead_letters_of_who_is_erased_are_deleted_and_no_others(tmp_path, playbook):
    async def main():
        async with bench() as nats, service(tmp_path, playbook, nats.settings) as (stub, _):
            await nats.publish(order(0, customer_id="anna"))
            # More than are looked at in one go.
            crowd = [b"\xff %d" % number for number in range(100)]
            await nats.publish(*crowd, *OF_ANNA, *OF_OTHERS)
            await nats.drained()
            await nats.dead_letters(len(crowd) + len(OF_ANNA) + len(OF_OTHERS))
            request = pb.EraseCustomerRequest(customer_ids=["anna", "bj\u00f6rn 2"])
            erased = {one.table: one.rows for one in (await stub.EraseCustomer(request)).erased}
            again = {one.table: one.rows for one in (await stub.EraseCustomer(request)).erased}
            state = (await nats.jetstream.stream_info(nats.dead_stream)).state
            left = []
            for sequence in range(state.first_seq, state.last_seq + 1):
                with contextlib.suppress(NotFoundError):
                    left.append((await nats.jetstream.get_msg(nats.dead_stream, sequence)).data or b"")
            return erased, again, left[len(crowd) :]

    erased, again, left = run(main)
    assert (erased["dead_letters"], erased["events"]) == (len(OF_ANNA), 1)
    assert not any(again.values())
    assert left == list(OF_OTHERS)


def test_only_dead_letters_are_deleted_and_those_that_are_gone_do_no_harm(playbook):
    async def main():
        async with bench() as nats:
            addresses = addresses_of(FeatureSettings(home="nowhere", **nats.settings))
            subjects = [nats.dead_subject, f"{nats.dead_subject}.more"]
            await nats.jetstream.add_stream(StreamConfig(name=nats.dead_stream, subjects=subjects))
            for number in range(100):
                await nats.jetstream.publish(subjects[number % 2], b"\xff anna")
            # One deletes what another has found.
            found = await asyncio.gather(*(NatsLetters(addresses).erase(["anna"]) for _ in range(4)))
            left = (await nats.jetstream.stream_info(nats.dead_stream, subjects_filter=">")).state
            return found, left.messages, left.subjects

    found, left, subjects = run(main)
    assert sum(found) >= 50
    assert left == 50
    assert list(subjects.values()) == [50]


def test_where_nothing_was_ever_buried_nothing_is_deleted(playbook):
    async def main():
        async with bench() as nats:
            letters = NatsLetters(addresses_of(FeatureSettings(home="nowhere", **nats.settings)))
            return await letters.erase(["anna"])

    assert run(main) == 0


def test_while_dead_letters_cannot_be_searched_nothing_is_erased(tmp_path, playbook):
    async def main():
        async with server(tmp_path / "nats") as made:
            await made.start()
            async with bench(made.url) as nats, service(tmp_path, playbook, nats.settings) as (stub, _):
                await nats.publish(order(0, customer_id="anna"), b"\xff anna")
                await nats.dead_letters(1)
                await made.stop()
                request = pb.EraseCustomerRequest(customer_ids=["anna"])
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.EraseCustomer(request)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                assert "dead letters" in refused.value.details()
                assert stored(tmp_path).keys() == {"e0"}
                await made.start()
                await nats.dead_letters(1)
                return {one.table: one.rows for one in (await stub.EraseCustomer(request)).erased}

    erased = run(main)
    assert (erased["dead_letters"], erased["events"]) == (1, 1)
    assert not stored(tmp_path)


def test_a_message_that_is_too_large_is_buried_as_far_as_it_fits(tmp_path, playbook):
    payload = b"x" * (1 << 20)

    async def main():
        async with bench() as nats, service(tmp_path, playbook, nats.settings):
            await until(nats.consumer)
            await nats.publish(payload[: nats.client.max_payload], order(1))
            await nats.drained()
            return await nats.dead_letters(1)

    (letter,) = run(main)
    assert stored(tmp_path).keys() == {"e1"}
    assert letter.headers["Tact-Cut-From-Bytes"] == str(len(payload))
    assert len(payload) - 2_000 < len(letter.data) < len(payload)
    assert payload.startswith(letter.data)


@pytest.mark.parametrize(
    ("failure", "cause"), [(StoreUnavailable("locked"), "store"), (StoreOverloaded("full"), "overloaded")]
)
def test_what_the_store_cannot_take_is_neither_acknowledged_nor_lost(playbook, failure, cause):
    async def main():
        async with bench() as nats:
            made = Consumed(nats, playbook)
            made.store.failure = failure
            async with consuming(made.consumer, PATIENCE_SECONDS):
                await nats.publish(*(order(number) for number in range(30)))

                await until(lambda: made.sample("pending") == 30.0 and made.sample("oldest_seconds") > 1.0)
                assert made.sample("errors_total", cause=cause) > 1
                assert made.sample("messages_total", result="postponed") >= 30
                assert made.sample("messages_total", result="applied") == 0
                assert made.ids == []
                assert (await nats.consumer()).ack_floor.stream_seq == 0
                made.store.failure = None
                await nats.drained()
                assert sorted(made.ids) == sorted(f"e{number}" for number in range(30))
                await until(lambda: made.sample("pending") == made.sample("oldest_seconds") == 0.0)
                assert made.sample("applied_timestamp_seconds") > 1_700_000_000

    run(main)


def test_an_event_that_makes_the_service_fail_keeps_no_other_out_and_is_buried_in_the_end(playbook):
    async def main():
        async with bench() as nats:
            made = Consumed(nats, playbook)
            made.stumbles_at = "e5"
            async with consuming(made.consumer, PATIENCE_SECONDS):
                await nats.publish(*(order(number) for number in range(20)))
                await until(lambda: len(made.ids) == 19)
                (letter,) = await nats.dead_letters(1)
                await nats.drained()
            assert letter.headers["Tact-Reason"] == "DEFECT"
            assert letter.data == order(5).SerializeToString()
            assert made.sample("dead_letters_total", reason="defect") == 1
            # A delivery that comes too late for its fetch counts as well, unseen.
            assert 0 < made.sample("errors_total", cause="defect") <= 4

    run(main)


def test_deleted_streams_and_consumers_are_made_again(playbook):
    async def main():
        async with bench() as nats:
            made = Consumed(nats, playbook)
            async with consuming(made.consumer, PATIENCE_SECONDS):
                await nats.publish(order(1))
                await nats.drained()
                await nats.jetstream.delete_consumer(nats.stream, nats.durable)
                await nats.publish(order(2))
                await until(lambda: len(made.ids) == 2)
                await nats.jetstream.delete_stream(nats.stream)
                await nats.publish(order(3))
                await until(lambda: len(made.ids) == 3)
                await nats.jetstream.delete_stream(nats.dead_stream)
                await nats.publish(b"?")
                await nats.dead_letters(1)
                await nats.drained()

    run(main)


def test_streams_that_are_there_stay_as_they_are(playbook):
    async def main():
        async with bench() as nats:
            config = StreamConfig(name=nats.stream, subjects=[nats.subject, "test.other.*"], max_msgs=1_000)
            await nats.jetstream.add_stream(config)
            made = Consumed(nats, playbook)
            async with consuming(made.consumer, PATIENCE_SECONDS):
                await nats.publish(order(1))
                await until(lambda: len(made.ids) == 1)
            return (await nats.jetstream.stream_info(nats.stream)).config

    config = run(main)
    assert config.max_msgs == 1_000
    assert len(config.subjects) == 2


def test_without_nats_the_service_serves_and_connects_once_it_is_there(tmp_path, playbook, caplog):
    caplog.set_level(logging.INFO, "tact")

    async def main():
        async with server(tmp_path / "nats") as own:
            url = own.url.replace("//", "//user:SECRET@")
            async with service(tmp_path, playbook, {"nats_url": url}) as (stub, registry):
                response = await stub.IngestEvents(pb.IngestEventsRequest(events=[order(1)]))
                assert response.results[0].accepted.sequence == 1
                await asyncio.sleep(1.0)
                assert sample(registry, "connected") == 0.0
                assert sample(registry, "errors_total", cause="connection") > 1
                await own.start()
                async with bench(own.url) as nats:
                    nats.stream, nats.subject = "TACT_EVENTS", "tact.events"
                    await nats.publish(order(1), order(2))
                    await nats.drained()
                assert sample(registry, "connected") == 1.0

    run(main)
    assert stored(tmp_path).keys() == {"e1", "e2"}
    assert caplog.messages.count("event stream lost") == 1
    assert caplog.messages.count("event stream connected") == 1
    assert "SECRET" not in "".join(str(record.__dict__) for record in caplog.records)


def test_nats_that_is_killed_in_mid_load_and_comes_back_loses_and_doubles_nothing(tmp_path, playbook):
    async def main():
        async with server(tmp_path / "nats") as own:
            await own.start()
            async with bench(own.url) as nats, service(tmp_path, playbook, nats.settings) as (_, registry):
                async with nats.load() as published:
                    for _ in range(KILLS):
                        await until(more_stored(tmp_path))
                        await own.stop()
                        await until(lambda: sample(registry, "connected") == 0.0)
                        await own.start()
                        await until(lambda: sample(registry, "connected") == 1.0)
                await nats.drained()
                assert sample(registry, "errors_total", cause="connection") >= KILLS
                return published

    published = run(main)
    assert stored(tmp_path).keys() == named(published)


@pytest.mark.parametrize("is_forgotten", [True, False], ids=["for good", "for a second"])
def test_a_connection_that_falls_silent_in_mid_load_loses_and_doubles_nothing(
    tmp_path, playbook, is_forgotten
):
    async def main():
        async with bench() as nats, Detour(int(nats.url.rpartition(":")[2])) as detour:
            settings = nats.settings | {"nats_url": f"nats://127.0.0.1:{detour.port}"}
            async with service(tmp_path, playbook, settings) as (_, registry):
                async with nats.load() as published:
                    await until(lambda: count(tmp_path) > 100)
                    detour.hold()
                    if is_forgotten:
                        await until(lambda: sample(registry, "connected") == 0.0)
                        detour.forget()
                    else:
                        await asyncio.sleep(1.0)
                        detour.release()
                    await until(more_stored(tmp_path))
                await nats.drained()
                assert (sample(registry, "errors_total", cause="connection") > 0) == is_forgotten
                return published

    published = run(main)
    assert stored(tmp_path).keys() == named(published)


def test_no_event_is_lost_or_doubled_by_kill_9(tmp_path, playbook):
    draw = random.Random(20_251_123)

    async def main():
        async with bench() as nats:
            async with nats.load() as published:
                for _ in range(KILLS):
                    with await asyncio.to_thread(FeatureProcess, tmp_path, playbook, **nats.settings):
                        await until(more_stored(tmp_path, draw.randrange(50, 500)))
                    state = (await nats.jetstream.stream_info(nats.stream)).state
                    assert state.last_seq - state.messages <= count(tmp_path)
            with await asyncio.to_thread(FeatureProcess, tmp_path, playbook, **nats.settings):
                await nats.drained()
            return published

    published = run(main)
    assert stored(tmp_path).keys() == named(published)


def test_sigterm_in_mid_load_finishes_what_was_taken(tmp_path, playbook):
    async def main():
        async with bench() as nats:
            async with nats.load() as published:
                running = await asyncio.to_thread(FeatureProcess, tmp_path, playbook, **nats.settings)
                with running:
                    await until(lambda: count(tmp_path) > 300)
                    assert await asyncio.to_thread(running.terminate) == 0
                ended = len(published)
            info = await nats.consumer()
            state = (await nats.jetstream.stream_info(nats.stream)).state
            return info, len(published) - state.messages, ended, running.log

    info, acknowledged, ended, log = run(main)
    assert info.num_ack_pending == info.num_redelivered == 0
    assert 300 < acknowledged == count(tmp_path) <= ended + 1
    assert not any('"ERROR"' in line for line in log), log


def test_a_process_tells_its_lag_in_its_metrics(tmp_path, playbook):
    async def main():
        async with bench() as nats:
            running = await asyncio.to_thread(FeatureProcess, tmp_path, playbook, **nats.settings)
            with running:
                await nats.publish(order(1), b"?")
                await nats.drained()
                return await asyncio.to_thread(scrape, running.metrics_port)

    text = run(main)
    assert 'tact_features_stream_messages_total{result="applied"} 1.0' in text
    assert 'tact_features_stream_dead_letters_total{reason="unreadable"} 1.0' in text
    assert "tact_features_stream_connected 1.0" in text


def count(home):
    """Count what is stored, if there is a store yet."""
    return len(stored(home)) if (home / "features.sqlite").exists() else 0


def more_stored(home, more=100):
    """Return what tells whether so many more are stored than now."""
    known = count(home)
    return lambda: count(home) > known + more


def named(numbers):
    return {f"e{number}" for number in numbers}


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS) as response:
        return response.read().decode()
