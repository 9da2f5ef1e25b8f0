"""NATS streams of a test's own; ``TACT_TEST_NATS_URL`` names a server other than this machine's."""

import asyncio
import contextlib
import inspect
import os
import signal
import socket
import uuid

import nats
import nats.errors
from google.protobuf.timestamp_pb2 import Timestamp
from monitoring import absent, program
from tact.features.v1 import feature_service_pb2 as pb

SERVER = os.environ.get("TACT_TEST_NATS_URL", "nats://127.0.0.1:4222")
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.02
_ABSENT = {}
"""Why a server that was waited for in vain is not waited for again, by URL."""


class Bench:
    """A connection of the test's own, and streams that nobody else uses."""

    def __init__(self, client, url):
        self.client = client
        self.jetstream = client.jetstream()
        self.url = url
        word = uuid.uuid4().hex
        self.stream, self.dead_stream = f"TEST_{word}", f"TEST_DEAD_{word}"
        self.subject, self.dead_subject = f"test.{word}.events", f"test.{word}.dead"
        self.durable = "tact-features"

    @property
    def settings(self):
        """Return what the feature service is told, by the fields of its settings."""
        return {
            "nats_url": self.url,
            "nats_stream": self.stream,
            "nats_subject": self.subject,
            "nats_dead_stream": self.dead_stream,
            "nats_dead_subject": self.dead_subject,
            "nats_ack_wait_seconds": 2.0,
        }

    async def publish(self, *payloads):
        """Publish, and wait until the server has them; tries again while there is no stream yet."""
        for payload in payloads:
            data = payload if isinstance(payload, bytes) else payload.SerializeToString()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    try:
                        await self.jetstream.publish(self.subject, data)
                        break
                    except (nats.errors.Error, OSError):
                        await asyncio.sleep(POLL_SECONDS)

    @contextlib.asynccontextmanager
    async def load(self):
        """Publish orders one after the other while the block lasts; yields their numbers."""
        numbers, ending = [], asyncio.Event()

        async def publish():
            while not ending.is_set():
                await self.publish(order(len(numbers)))
                numbers.append(len(numbers))

        publishing = asyncio.create_task(publish())
        try:
            yield numbers
        finally:
            ending.set()
            await publishing

    async def consumer(self):
        """Return what the server knows of the consumer."""
        return await self.jetstream.consumer_info(self.stream, self.durable)

    async def drained(self):
        """Wait until every message is acknowledged.

        A server that was killed may keep some that were; it delivers them no more.
        """

        async def is_done():
            last = (await self.jetstream.stream_info(self.stream)).state.last_seq
            info = await self.consumer()
            return info.num_pending == info.num_ack_pending == 0 and info.ack_floor.stream_seq == last

        await until(is_done)

    async def dead_letters(self, count):
        """Wait for so many dead letters; returns them in order."""

        async def are_there():
            return (await self.jetstream.stream_info(self.dead_stream)).state.messages >= count

        await until(are_there)
        state = (await self.jetstream.stream_info(self.dead_stream)).state
        assert state.messages == count
        return [
            await self.jetstream.get_msg(self.dead_stream, sequence)
            for sequence in range(state.first_seq, state.last_seq + 1)
        ]


async def until(is_so):
    """Wait until a condition holds; a server that does not answer does not fulfil it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(nats.errors.Error):
                found = is_so()
                if await found if inspect.isawaitable(found) else found:
                    return
            await asyncio.sleep(POLL_SECONDS)


@contextlib.asynccontextmanager
async def bench(url=SERVER):
    """Connect; all streams go afterwards. Without a server the test skips, or fails if they are required."""
    if url in _ABSENT:
        absent(_ABSENT[url])
    try:
        # The client itself tries for minutes.
        async with asyncio.timeout(5):
            client = await nats.connect(
                url, allow_reconnect=url != SERVER, connect_timeout=5, error_cb=_ignore
            )
    except (OSError, nats.errors.Error) as error:
        _ABSENT[url] = f"no NATS to test with, TACT_TEST_NATS_URL may name one: {type(error).__name__}"
        absent(_ABSENT[url])
    made = Bench(client, url)
    try:
        yield made
    finally:
        for name in (made.stream, made.dead_stream):
            with contextlib.suppress(nats.errors.Error):
                await made.jetstream.delete_stream(name)
        await client.close()


async def _ignore(error):
    """The test looks for itself."""


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A NATS server of the test's own, which can be stopped and started again with all that it kept."""

    def __init__(self, folder, port):
        self.url = f"nats://127.0.0.1:{port}"
        self._command = [
            program("nats-server"),
            "-js",
            "-a",
            "127.0.0.1",
            "-p",
            str(port),
            "-sd",
            str(folder),
        ]
        self._process = None

    async def start(self):
        """Run it until it takes connections."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    client = await nats.connect(self.url, allow_reconnect=False, error_cb=_ignore)
                    break
                except (OSError, nats.errors.Error):
                    await asyncio.sleep(POLL_SECONDS)
        await client.close()

    async def stop(self, number=signal.SIGKILL):
        """End it, at once if not told otherwise."""
        if self._process is not None:
            self._process.send_signal(number)
            await self._process.wait()
            self._process = None


@contextlib.asynccontextmanager
async def server(folder, port=None):
    """Prepare a server, which is not started yet."""
    made = Server(folder, port or free_port())
    try:
        yield made
    finally:
        await made.stop()


def order(number, **fields):
    """Make an event of ``playbooks.SHOP``."""
    event = pb.Event(
        **{
            "event_id": f"e{number}",
            "customer_id": f"c{number % 7}",
            "type": "order",
            "event_time": Timestamp(seconds=1_740_000_000 + number),
            **fields,
        }
    )
    event.attributes["items"].number_value = number % 5
    return event
