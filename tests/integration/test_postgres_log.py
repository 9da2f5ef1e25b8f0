"""The decision log on PostgreSQL, used by several processes' worth of connections at once."""

import asyncio
import contextlib
import random
from dataclasses import replace
from datetime import timedelta

import databases
import pytest
from decision_logs import MIGRATIONS_OF_POSTGRESQL, NOW, entry, offer, outcome

from services.chassis.postgres import Postgres
from services.gateway.adapters.postgres_log import PostgresLog
from services.gateway.domain.ledger import Claim
from services.gateway.ports import LedgerMoved, NotLogged

PATIENCE_SECONDS = 120.0
UNTIL = NOW + timedelta(days=1)
MEMBERS = ("anna", "Ben", "ɐnna", "zoe")
PROCESSES = 3


def run(main):
    async def bounded():
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await main()

    return asyncio.run(bounded())


@pytest.fixture
def url():
    with databases.postgresql() as url:
        yield url


@contextlib.asynccontextmanager
async def logs(url, count=PROCESSES):
    """Open the store so many times, as so many processes would."""
    migrations = [path.read_text() for path in MIGRATIONS_OF_POSTGRESQL]
    async with contextlib.AsyncExitStack() as stack:
        opening = (Postgres.open(url, migrations, schema="gateway", connections=4) for _ in range(count))
        yield [PostgresLog(await stack.enter_async_context(each)) for each in opening]


def asked(url, query):
    with databases.administrator(url) as server:
        return server.execute(query).fetchall()


def reserving(decision_id, versions, customer_id, offers=1):
    return entry(
        decision_id,
        customer_id=customer_id,
        versions=versions,
        offers=[offer(f"action-{rank}", UNTIL) for rank in range(offers)],
    )


async def until_written(log, members, write):
    """Read a ledger and write by it, again and again until nobody came between; count the conflicts."""
    conflicts = 0
    while True:
        reading = await log.ledger(members, NOW - timedelta(days=1))
        try:
            return await write(reading), conflicts
        except LedgerMoved:
            conflicts += 1


def test_of_a_crowd_exactly_as_many_are_granted_as_the_cap_allows(url):
    most, crowd = 5, 32

    async def main():
        async with logs(url) as several:

            async def ask(number):
                log, customer = several[number % PROCESSES], MEMBERS[number % len(MEMBERS)]
                members = random.Random(number).sample(MEMBERS, len(MEMBERS))

                async def write(reading):
                    if len(reading.ledger.contacts) >= most:
                        return False
                    return await log.append(reserving(f"d-{number}", reading.versions, customer)) is None

                return await until_written(log, members, write)

            return await asyncio.gather(*map(ask, range(crowd)))

    answers = run(main)
    assert sum(granted for granted, _ in answers) == most
    assert sum(conflicts for _, conflicts in answers) > 0
    assert asked(url, "SELECT count(*) FROM contacts") == [(most,)]
    assert asked(url, "SELECT count(*) FROM decisions") == [(most,)]
    assert asked(url, "SELECT version FROM ledgers") == [(most,)] * len(MEMBERS)


def test_a_crowd_of_all_sorts_neither_waits_in_a_circle_nor_loses_anything(url):
    decisions, crowd = 12, 150

    async def main():
        async with logs(url) as several:
            for number in range(decisions):
                customer = MEMBERS[number % len(MEMBERS)]

                async def write(reading, number=number, customer=customer):
                    row = reserving(f"d-{number}", reading.versions, customer, offers=2)
                    return await several[0].append(row)

                await until_written(several[0], [customer], write)
            claims, accepted, unclaimed = {}, [], 0

            async def claim(draw, log, number):
                decision_id, rank = f"d-{draw.randrange(decisions)}", draw.choice([1, 2])
                members = draw.sample(MEMBERS, len(MEMBERS))
                code = draw.choice(["", "SUPPRESSED"])
                said = Claim(claim_id=f"sender-{number}", time=NOW + timedelta(seconds=number), code=code)
                given, _ = await until_written(
                    log, members, lambda reading: log.claim(decision_id, rank, said, reading.versions)
                )
                claims.setdefault((decision_id, rank), set()).add(given)

            async def tell(draw, log, number):
                nonlocal unclaimed
                batch = [
                    outcome(
                        f"o-{draw.randrange(crowd)}",
                        decision_id=f"d-{draw.randrange(decisions)}",
                        rank=draw.choice([1, 2]),
                        kind=draw.choice(["DELIVERED", "VIEWED", "ACCEPTED"]),
                    )
                    for _ in range(draw.randrange(1, 20))
                ]
                settled = await log.record_outcomes(batch, NOW)
                accepted.extend(settled.fresh)
                unclaimed += settled.unclaimed

            async def decide(draw, log, number):
                customer = draw.choice(MEMBERS)
                members = [customer, *draw.sample(MEMBERS, 2)]
                await until_written(
                    log,
                    members,
                    lambda reading: log.append(reserving(f"e-{number}", reading.versions, customer)),
                )

            at_once = asyncio.Semaphore(16)

            async def act(number):
                draw = random.Random(number)
                async with at_once:
                    await draw.choice([claim, tell, decide])(draw, several[number % PROCESSES], number)

            await asyncio.gather(*map(act, range(crowd)))
            standings = {place: await several[0].standing(*place) for place in claims}
            told = [
                each for number in range(decisions) for each in await several[0].outcomes_of(f"d-{number}")
            ]
        return claims, accepted, unclaimed, standings, told

    claims, accepted, unclaimed, standings, told = run(main)
    assert len(claims) > decisions
    for place, given in claims.items():
        # Whoever asked was given the one verdict that stands.
        assert given == {standings[place].claim}
        if standings[place].claim.goes:
            assert standings[place].contact.consume_time is not None
    assert sorted(accepted, key=lambda one: one.outcome_id) == sorted(told, key=lambda one: one.outcome_id)
    assert len({report.outcome_id for report in accepted}) == len(accepted) > 50
    taken = asked(url, "SELECT count(*) FROM contacts WHERE consume_time IS NOT NULL")[0][0]
    gone = sum(standing.claim.goes for standing in standings.values())
    assert unclaimed > 0
    assert max(gone, unclaimed) <= taken <= gone + unclaimed
    # Waiting in a circle would have been resolved by the server, after a second.
    assert asked(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


def test_an_outcome_that_two_report_at_once_of_different_customers_is_accepted_once(url):
    async def main():
        async with logs(url) as several:
            for number, customer in enumerate(MEMBERS):
                await several[0].append(entry(f"d-{number}", customer_id=customer))
            batches = [
                [outcome(f"o-{serial}", decision_id=f"d-{number}") for serial in order(range(200))]
                for number, order in ((0, list), (1, reversed), (2, list), (3, reversed))
            ]
            settled = await asyncio.gather(
                *(
                    several[number % PROCESSES].record_outcomes(batch, NOW)
                    for number, batch in enumerate(batches)
                )
            )
            verdicts = [
                dict(zip((report.outcome_id for report in batch), each.verdicts, strict=True))
                for batch, each in zip(batches, settled, strict=True)
            ]
        for serial in range(200):
            got = sorted(each[f"o-{serial}"] for each in verdicts)
            assert got == ["accepted", "reused", "reused", "reused"]

    run(main)


def test_a_decision_that_is_written_at_once_by_several_stands_once_and_takes_its_slots_once(url):
    async def main():
        async with logs(url) as several:
            same = [
                replace(reserving("d-1", {"anna": 0}, "anna"), record=bytes([number]))
                for number in range(PROCESSES)
            ]
            standing = await asyncio.gather(
                *(log.append(each) for log, each in zip(several, same, strict=True)), return_exceptions=True
            )
            found = await several[0].find("d-1", live=True)
        assert standing.count(None) == 1
        assert {each.record for each in standing if each} == {found.record} == {bytes([standing.index(None)])}

    run(main)
    assert asked(url, "SELECT count(*) FROM contacts") == [(1,)]


def test_of_claims_at_once_that_ask_for_no_version_one_verdict_stands(url):
    async def main():
        async with logs(url) as several:
            await several[0].append(reserving("d-1", {"anna": 0}, "anna"))
            said = [Claim(claim_id=f"sender-{number}", time=NOW) for number in range(30)]
            given = await asyncio.gather(
                *(several[number % PROCESSES].claim("d-1", 1, claim, {}) for number, claim in enumerate(said))
            )
            assert {*given} == {(await several[0].standing("d-1", 1)).claim}

    run(main)


def test_while_connections_die_no_slot_is_given_twice_and_none_is_lost(url):
    most = 40

    async def main():
        async with logs(url) as several:
            over = asyncio.Event()

            async def disturb():
                while not over.is_set():
                    await asyncio.sleep(0.03)
                    await asyncio.to_thread(databases.terminate, url)

            async def ask(worker):
                log, granted, serial = several[worker % PROCESSES], [], 0
                while True:
                    serial += 1
                    decision_id = f"d-{worker}-{serial}"
                    with contextlib.suppress(NotLogged, LedgerMoved):
                        reading = await log.ledger(["anna"], NOW - timedelta(days=1))
                        if len(reading.ledger.contacts) >= most:
                            return granted
                        row = reserving(decision_id, reading.versions, "anna")
                        if await log.append(row) is None:
                            granted.append(decision_id)

            disturbing = asyncio.create_task(disturb())
            granted = await asyncio.gather(*map(ask, range(9)))
            over.set()
            await disturbing
        return {decision_id for each in granted for decision_id in each}

    granted = run(main)
    there = {row[0] for row in asked(url, "SELECT decision_id FROM contacts")}
    assert granted <= there == {row[0] for row in asked(url, "SELECT decision_id FROM decisions")}
    assert len(there) == most


def test_ids_are_told_apart_and_sorted_byte_by_byte(url):
    ids = ["o-a", "o-B", "O-a", "o-é", "o-e\N{COMBINING ACUTE ACCENT}", "o a", "\N{SNOWMAN}" * 128]

    async def main():
        async with logs(url, 1) as (log,):
            await log.append(entry())
            settled = await log.record_outcomes([outcome(each) for each in ids], NOW)
            assert settled.verdicts == ["accepted"] * len(ids)
            assert [each.outcome_id for each in await log.outcomes_of("d-1")] == sorted(ids)

    run(main)


def test_a_store_that_holds_something_else_is_a_log_that_cannot_be_read(url):
    async def main():
        async with logs(url, 1) as (log,):
            await log.append(reserving("d-1", {"anna": 0}, "anna"))
            with databases.administrator(url) as server:
                server.execute("UPDATE decisions SET offers = '{', record_time = 9223372036854775807")
            for ask in (
                log.find("d-1", live=True),
                log.ledger(["anna"], NOW),
                log.standing("d-1", 1),
                log.record_outcomes([outcome()], NOW),
            ):
                with pytest.raises(NotLogged, match="something in it cannot be read back"):
                    await ask
            with databases.administrator(url) as server:
                server.execute("DROP TABLE contacts, outcomes, decisions, last_model")
            assert await log.last_model() is None
            with pytest.raises(NotLogged, match=r"cannot be read: .* does not exist"):
                await log.find("d-1", live=True)
            with pytest.raises(NotLogged, match=r"cannot be written: .* does not exist"):
                await log.append(entry())

    run(main)
