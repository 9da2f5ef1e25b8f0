"""Profiles that move from one kind of store to the other and back, row by row."""

import itertools
import random

import pytest
from profile_stores import (
    consent,
    everything,
    link,
    postgresql,
    read,
    sqlite,
    unlink,
    update,
    using,
)

from services.chassis import postgres_tables, sqlite_tables
from services.chassis.tables import RowDiffers, exported
from services.profile.adapters.tables import TABLES
from services.profile.domain.consents import State
from services.profile.domain.links import LinkAnswer

NAMES = ("a", "b", "ɐ", "B", "e")


async def page(held, table, after, limit):
    if hasattr(held, "url"):
        return await held.database.read(
            lambda connection: postgres_tables.page(connection, table, None, after, limit)
        )
    return sqlite_tables.page(held.database.read, table, None, after, limit)


async def restore(held, table, rows):
    async def put(connection):
        return await postgres_tables.restore(connection, table, rows)

    if hasattr(held, "url"):
        return await held.database.write(put)
    return await held.database.write(lambda connection: sqlite_tables.restore(connection, table, rows))


async def archived(held):
    """Return all rows of a store as an archive would hold them."""
    rows, token = [], ""
    while True:
        found = await exported(lambda *asked: page(held, *asked), TABLES, token, 2_000)
        rows += found.rows
        token = found.next_token
        if not token:
            return rows


async def put_back(held, rows):
    """Put an archive back; return how many rows were new."""
    by_name = {table.name: table for table in TABLES}
    new = 0
    for name, some in itertools.groupby(rows, key=lambda row: row[0]):
        table = by_name[name]
        decoded = [table.decode(row) for _, row in some]
        for first in range(0, len(decoded), 7):
            new += await restore(held, table, decoded[first : first + 7])
    return new


async def live(store, draw, serials):
    """Do one thing at random."""
    one, two = draw.sample(NAMES, 2)
    serial, at = next(serials), draw.randrange(1, 100)
    match draw.randrange(6):
        case 0 | 1:
            cards = [draw.choice("12"), f"{one}-{serial}"]
            plan = draw.choice(["null", "1", '"\\u0000 ä"', "false"])
            await store.upsert([update(one, at=at, cards=cards[draw.randrange(2) :], plan=plan)])
        case 2 | 3:
            said = {"state": draw.choice(list(State)), "expire_time": draw.choice([None, 200])}
            await store.record([consent(f"r-{serial}", customer_id=one, at=at, **said)])
        case 4:
            await store.link(draw.choice([link(f"l-{serial}", one, two), unlink(f"l-{serial}", one)]))
        case _:
            if draw.random() < 0.15:
                profile = await read(store, one)
                await store.erase([one] if profile is None else profile.members, lambda: at)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kinds", [(sqlite, postgresql), (postgresql, sqlite)], ids=["there", "back"])
def test_a_store_of_the_other_kind_tells_and_goes_on_with_the_same(kinds, seed, tmp_path):
    first, second = kinds
    draw, serials = random.Random(seed), itertools.count()

    async def leave(held):
        for _ in range(150):
            await live(held.store, draw, serials)
        await held.store.upsert([update(name) for name in NAMES])
        await held.store.link(link("l-last", *NAMES[:2]))
        return await everything(held.store, NAMES), await archived(held)

    async def arrive(held):
        told, rows = left
        assert await put_back(held, rows) == len(rows)
        assert await put_back(held, rows) == 0
        assert await everything(held.store, NAMES) == told
        assert await archived(held) == rows
        numbers = {name: {row for table, row in rows if table == name} for name in ("consents", "links")}
        await held.store.upsert([update(name) for name in ("new", "newer")])
        await held.store.record([consent("r-new", customer_id="new")])
        assert (await held.store.link(link("l-new", "new", "newer"))).answer is LinkAnswer.NEW
        for table in TABLES:
            if table.name in numbers:
                *before, last = await page(held, table, None, 10_000)
                assert len(before) == len(numbers[table.name])
                assert all(last[0] > row[0] for row in before)

    left = using(first, tmp_path, leave)
    assert len({table for table, _ in left[1]}) == len(TABLES)
    # There may be one file in a folder.
    folder = tmp_path / "other"
    folder.mkdir()
    using(second, folder, arrive)


@pytest.mark.parametrize("opened", [sqlite, postgresql])
def test_another_row_in_the_place_of_one_is_not_overwritten(opened, tmp_path):
    async def exercise(held):
        await held.store.upsert([update("a", cards=["1"], plan="1")])
        rows = await archived(held)
        await held.store.upsert([update("a", plan="2")])
        with pytest.raises(RowDiffers, match="attributes: another row stands in the place of customer_id a"):
            await put_back(held, rows)
        assert (await read(held.store, "a")).attributes["plan"].value == 2

    using(opened, tmp_path, exercise)
