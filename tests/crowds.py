"""Several gateways on one store, and crowds that ask them about one customer at once."""

import asyncio
import contextlib
import itertools
import sqlite3
import urllib.request
from datetime import timedelta

import databases
import decision_logs
import grpc
import psycopg
import worlds
from deciding import FILES, instant, model, request
from prometheus_client.parser import text_string_to_metric_families
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from trouble import LIVE, PATIENCE_SECONDS

from services.chassis.clients import OUT_OF_REACH
from services.chassis.postgres import Postgres
from services.chassis.sqlite import Database
from services.gateway.adapters.postgres_log import PostgresLog
from services.gateway.adapters.sqlite_log import SqliteLog

FEW = (1, 3, 10)
MOST = (*FEW, 64)
PAIR = ("left", "right")
PAIR_MOST = 5
GO, CANCELLED = pb.CLAIM_VERDICT_GO, pb.CLAIM_VERDICT_CANCELLED
_numbers = itertools.count()


def write_capped(folder, claim_within="1d"):
    """Write the shop with other actions: of ``up-to-3`` at most three a week, of the pair five together."""
    names = [name_of(most) for most in MOST]
    treatments = "{ message: { channel: email, content: { headline: Hello } } }"
    actions = "".join(
        f"\n  {name}: {{ group: offers, purpose: marketing, value: 50, treatments: {treatments} }}"
        for name in (*names, *PAIR)
    )
    caps = [*zip(MOST, names, strict=True), (PAIR_MOST, ", ".join(PAIR))]
    policies = "".join(
        f"\n  - {{ name: at_most_{most}, text: Enough for a week., most: {most}, window: 7d,"
        f" applies_to: {{ actions: [{scope}] }} }}"
        for most, scope in caps
    )
    folder.mkdir()
    files = FILES | {
        "actions.yaml": "attributes: { category: { type: string }, discount: { type: integer } }\n"
        f"groups: {{ offers: {{}}, service: {{}} }}\nactions:{actions}\n",
        "policies.yaml": f"claim_within: {claim_within}\ncaps:{policies}\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def name_of(most):
    """Name the action with a cap."""
    return f"up-to-{most}"


class Sqlite:
    """A file, in a folder that gateways share."""

    name = "sqlite"

    def __init__(self, home):
        self.home = home

    @property
    def environ(self):
        """Say how a gateway is told of it."""
        return {}

    def rows(self, query, *parameters):
        """Read what is committed."""
        with contextlib.closing(sqlite3.connect(self.home / "gateway.sqlite")) as file:
            return file.execute(query.replace("%s", "?"), parameters).fetchall()

    @contextlib.contextmanager
    def locked(self):
        """Let every write wait, as another program may."""
        file = sqlite3.connect(self.home / "gateway.sqlite", isolation_level=None)
        with contextlib.closing(file):
            file.execute("BEGIN IMMEDIATE")
            yield

    def cut(self):
        """End all connections, of which a file has none."""

    @contextlib.asynccontextmanager
    async def log(self):
        """Open it as a gateway does."""
        migrations = [path.read_text() for path in decision_logs.MIGRATIONS]
        async with Database.open(self.home / "gateway.sqlite", migrations) as database:
            yield SqliteLog(database)


class Postgresql:
    """A database of a server, which gateways reach by another way than tests where a ``port`` is given."""

    name = "postgresql"

    def __init__(self, home, url, port=None):
        self.home = home
        self.url = url
        self.port = port

    @property
    def environ(self):
        """Say how a gateway is told of it."""
        url = self.url if self.port is None else databases.by_way_of(self.url, port=self.port)
        return {"TACT_GATEWAY_STORE": url}

    def rows(self, query, *parameters):
        """Read what is committed."""
        with psycopg.connect(self.url) as server:
            return server.execute(query, parameters).fetchall()

    @contextlib.contextmanager
    def locked(self):
        """Let every write wait, as another program may."""
        with psycopg.connect(self.url) as server:
            server.execute("LOCK TABLE decisions, contacts, ledgers IN EXCLUSIVE MODE")
            yield

    def cut(self):
        """End all connections."""
        databases.terminate(self.url)

    @contextlib.asynccontextmanager
    async def log(self):
        """Open it as a gateway does."""
        migrations = [path.read_text() for path in decision_logs.MIGRATIONS_OF_POSTGRESQL]
        async with Postgres.open(self.url, migrations, schema="gateway") as database:
            yield PostgresLog(database)


async def learn(store):
    """Keep base rates in a store, as if scoring had been there once."""
    async with store.log() as log:
        await log.keep_model(model())


@contextlib.contextmanager
def sqlite(folder):
    """Make room for a file."""
    yield Sqlite(folder)


@contextlib.contextmanager
def postgresql(folder):
    """Make a database."""
    with databases.postgresql() as url:
        yield Postgresql(folder, url)


class Beside(worlds.Processes):
    """One more gateway, and services of its own by some names; the others are those of another gateway."""

    def __init__(self, first, *arguments, **options):
        super().__init__(*arguments, **options)
        self._first = first

    def address(self, name):
        return super().address(name) if name in self.names else self._first.address(name)


class Fleet:
    """Gateways that share a store, and the services that ``first`` asks.

    Services with some ``names`` are of their own, by their own playbook.
    """

    def __init__(self, first, store, playbook_folder, size, *, names=(), environ=None, launcher=()):
        self.store = store
        environ = {**store.environ, **(environ or {})}
        own = Beside(first, store.home, playbook_folder, names=names, environ=environ, launcher=launcher)
        others = [
            Beside(own, store.home, playbook_folder, names=(), environ=environ) for _ in range(size - 1)
        ]
        self.gateways = [own, *others]
        self._is_up = [asyncio.Event() for _ in self.gateways]

    async def __aenter__(self):
        own, *others = self.gateways
        await own.__aenter__()
        await asyncio.gather(*(gateway.__aenter__() for gateway in others))
        for is_up in self._is_up:
            is_up.set()
        return self

    async def __aexit__(self, *failure):
        await asyncio.gather(*(gateway.__aexit__() for gateway in self.gateways))

    def stub(self, number):
        """Return the stub of one gateway; numbers go round."""
        return self.gateways[number % len(self.gateways)].stubs["gateway"]

    async def persist(self, number, rpc, asked):
        """Make a call at one gateway after another until one answers; one that was killed is waited for."""
        while True:
            await self._is_up[number % len(self.gateways)].wait()
            try:
                return await getattr(self.stub(number), rpc)(asked, timeout=PATIENCE_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() not in OUT_OF_REACH:
                    raise
            number += 1

    async def kill(self, index):
        """Kill a gateway and wait for its end."""
        self._is_up[index].clear()
        await self.gateways[index].stop("gateway")

    async def start(self, index):
        """Start a gateway again that was killed."""
        await self.gateways[index].start("gateway")
        self._is_up[index].set()

    async def mend(self):
        """Start all that were killed."""
        dead = [index for index, is_up in enumerate(self._is_up) if not is_up.is_set()]
        await asyncio.gather(*map(self.start, dead))

    async def total(self, name, gateways=None, **labels):
        """Sum a number over the gateways, or some of them."""
        ports = [gateway.metrics_port("gateway") for gateway in gateways or self.gateways]
        pages = await asyncio.gather(*(asyncio.to_thread(_samples, port) for port in ports))
        return int(
            sum(
                sample.value
                for page in pages
                for sample in page
                if sample.name == name and labels.items() <= sample.labels.items()
            )
        )

    def taken(self, customer_id):
        """Count what the store says was taken."""
        query = "SELECT count(*) FROM contacts WHERE customer_id = %s AND consume_time IS NOT NULL"
        return self.store.rows(query, customer_id)[0][0]

    def logged(self, customer_id):
        """Return the answers that the store holds."""
        found = self.store.rows("SELECT record FROM decisions WHERE customer_id = %s", customer_id)
        return [log_pb.DecisionRecord.FromString(record).response for (record,) in found]


def asking(customer_id, *actions, **fields):
    """Ask what nobody asked before: for a live decision among some actions."""
    fields = {"request_id": f"asked-{next(_numbers)}", "max_actions": 1, "mode": LIVE, **fields}
    return request(customer_id, action_ids=actions, **fields)


def claiming(answer, claim_id="a sender"):
    """Ask whether the first action of an answer may be sent."""
    return pb.ClaimDeliveryRequest(decision_id=answer.decision_id, rank=1, claim_id=claim_id)


async def newcomer(profile):
    """Put a customer on file who may be written to; returns the id."""
    customer_id = f"customer-new-{next(_numbers)}"
    said = instant(worlds.NOON - timedelta(days=90))
    update = profile_pb.ProfileUpdate(customer_id=customer_id, record_time=said)
    await profile.UpsertProfiles(profile_pb.UpsertProfilesRequest(updates=[update]))
    receipt = profile_pb.Consent(
        receipt_id=customer_id,
        purpose="marketing",
        channel="email",
        state="CONSENT_STATE_GRANTED",
        record_time=said,
    )
    record = profile_pb.ConsentRecord(customer_id=customer_id, consent=receipt)
    await profile.RecordConsents(profile_pb.RecordConsentsRequest(records=[record]))
    return customer_id


def _samples(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    return [sample for family in families for sample in family.samples]
