"""What the contact ledger costs: reserving, contention on one customer, claims against the bare store."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import databases
import psycopg
import yaml

from bench.callers import IN_FLIGHT, in_flight
from bench.policies import Desk, grown
from bench.summary import spread
from services.chassis.postgres import Postgres
from services.chassis.sqlite import Database
from services.engine.instants import instant
from services.engine.playbook.loader import load
from services.engine.playbook.playbook import Playbook
from services.gateway.adapters.postgres_log import PostgresLog
from services.gateway.adapters.sqlite_log import SqliteLog
from services.gateway.domain.ledger import Claim
from services.gateway.ports import DecisionLog

CANDIDATES = 20
_CAP = {"name": "plenty", "text": "No end of them.", "most": 1_000, "window": "7d"}
_MIGRATIONS = sorted((Path(__file__).parents[2] / "services/gateway/migrations").glob("*.sql"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A store of its own: the log on it, and one bare durable transaction, repeated so many times."""

    log: DecisionLog
    transact: Callable[[int], Awaitable[None]]


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Store]:
    """Open a new file; its bare transactions go to a file beside it, as durable."""
    scripts = [path.read_text() for path in _MIGRATIONS]

    def transact(times: int) -> None:
        with closing(sqlite3.connect(folder / "bare.sqlite", isolation_level=None)) as bare:
            bare.execute("PRAGMA journal_mode = WAL")
            bare.execute("PRAGMA synchronous = FULL")
            bare.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, taken INTEGER)")
            for number in range(times):
                bare.execute("BEGIN IMMEDIATE")
                bare.execute("INSERT INTO rows (taken) VALUES (?)", (number,))
                bare.execute("COMMIT")

    async with Database.open(folder / "gateway.sqlite", scripts) as database:
        yield Store(log=SqliteLog(database), transact=lambda times: asyncio.to_thread(transact, times))


@asynccontextmanager
async def postgresql(folder: Path) -> AsyncIterator[Store]:
    """Make a new database; its bare transactions go to a table of its own, as durable."""
    scripts = [path.read_text() for path in sorted((_MIGRATIONS[0].parent / "postgresql").glob("*.sql"))]

    def transact(url: str, times: int) -> None:
        with psycopg.connect(url) as bare:
            bare.execute("CREATE TABLE IF NOT EXISTS bare_rows (taken INTEGER)")
            for number in range(times):
                bare.execute("INSERT INTO bare_rows (taken) VALUES (%s)", (number,))
                bare.commit()

    with databases.postgresql() as url:
        async with Postgres.open(url, scripts, schema="gateway") as postgres:
            yield Store(
                log=PostgresLog(postgres), transact=lambda times: asyncio.to_thread(transact, url, times)
            )


Opener = Callable[[Path], AbstractAsyncContextManager[Store]]


def stores() -> Mapping[str, Opener]:
    """Return the stores that can be measured here: PostgreSQL where a server answers."""
    found: dict[str, Opener] = {"SQLite": sqlite}
    with suppress(psycopg.OperationalError), psycopg.connect(databases.SERVER, connect_timeout=2):
        found["PostgreSQL"] = postgresql
    return found


def measure(rounds: int, decisions: int) -> dict[str, Any]:
    """Return the ratios of each store; both sides of a ratio are measured in turns, in the same round."""
    with TemporaryDirectory(prefix="tact-bench-") as name:
        folder = Path(name)
        playbooks = {capped: load(_playbook(folder / str(capped), capped=capped)) for capped in (False, True)}
        found = stores()
        for store in found:
            (folder / store).mkdir()
        return {
            store: asyncio.run(_measured(opened, folder / store, playbooks, rounds, decisions))
            for store, opened in found.items()
        }


async def _measured(
    opened: Opener,
    folder: Path,
    playbooks: Mapping[bool, Playbook],
    rounds: int,
    decisions: int,
) -> dict[str, Any]:
    customers = [f"customer-{number}" for number in range(decisions)]
    found: dict[str, list[float]] = {"reserving": [], "contention": [], "conflicts": [], "claims": []}
    async with opened(folder) as store:
        plain, capped = (
            Desk(playbook=playbook, log=store.log, customers=customers) for playbook in playbooks.values()
        )
        await _decide(plain, customers[:IN_FLIGHT])
        await _decide(capped, customers[:IN_FLIGHT])
        for number in range(rounds):
            free, _ = await _decide(plain, customers)
            reserving, answers = await _decide(capped, customers)
            before = capped.conflicts
            contended, _ = await _decide(capped, customers[number : number + 1] * decisions)
            found["reserving"].append(reserving / free)
            found["contention"].append(contended / reserving)
            found["conflicts"].append((capped.conflicts - before) / decisions)
            found["claims"].append(await _bare(store, decisions) / await _claim(store.log, answers))
    return {name: spread(values) for name, values in found.items()}


async def _decide(desk: Desk, customers: Sequence[str]) -> tuple[float, list[Any]]:
    """Decide for each customer; return the seconds, and the answers."""
    answers: list[Any] = []

    async def one(customer: str) -> None:
        answers.append(await desk.decide(customer, max_actions=1))

    return await in_flight(one, customers), answers


async def _claim(log: DecisionLog, answers: Sequence[Any]) -> float:
    """Take the slot of each answer, by the ledger as it is; return the seconds."""

    async def one(answer: Any) -> None:
        now = instant(time.time_ns() // 1_000)
        reading = await log.ledger([answer.customer_id], now - timedelta(days=7))
        await log.claim(answer.decision_id, 1, Claim(claim_id="bench", time=now), reading.versions)

    return await in_flight(one, answers)


async def _bare(store: Store, times: int) -> float:
    started = time.perf_counter()
    await store.transact(times)
    return time.perf_counter() - started


def _playbook(folder: Path, *, capped: bool) -> Path:
    grown(folder, CANDIDATES)
    if capped:
        policies = yaml.safe_load((folder / "policies.yaml").read_text())
        (folder / "policies.yaml").write_text(yaml.safe_dump({**policies, "caps": [_CAP]}, sort_keys=False))
    return folder
