"""What every store of profiles promises of customers who are exported and erased."""

import json

import pytest
from profile_stores import (
    consent,
    every_store,
    exported,
    link,
    made,
    owner_of,
    read,
    run,
    unlink,
    update,
)

from services.chassis.tables import InvalidRow, tombstone
from services.profile.adapters.tables import TABLES
from services.profile.domain.consents import Recorded, State
from services.profile.domain.links import LinkAnswer

NAMES = [table.name for table in TABLES]


async def filled(store):
    """Make two who are one, one who was, and a stranger."""
    await made(store, "a", "b", "c", "x")
    await store.upsert([update("a", plan='"x"'), update("a", at=20, plan="null"), update("x", plan='"y"')])
    await store.record([consent("r-a", customer_id="a"), consent("r-x", customer_id="x")])
    await store.record([consent("r-b", customer_id="b", state=State.DENIED)])
    for act in (link("l-1", "a", "b"), link("l-2", "a", "c"), unlink("l-3", "c")):
        await store.link(act)


@every_store
def test_an_export_holds_every_row_of_a_customer_and_no_other(opened, tmp_path):
    async def main(store):
        await filled(store)
        rows = [(table, json.loads(row)) for table, row in await exported(store, "b", "a")]
        assert {table: sum(one == table for one, _ in rows) for table in NAMES} == {
            "customers": 2,
            "identities": 2,
            "attributes": 2,
            "consents": 3,
            "links": 3,
            "memberships": 1,
            "counter": 0,
            "erasures": 0,
        }
        assert [table for table, _ in rows] == sorted((table for table, _ in rows), key=NAMES.index)
        assert ("identities", {"kind": "card", "value": "card-a", "customer_id": "a"}) in rows
        strict = next(row for table, row in rows if table == "consents" and row["source"] == "link")
        assert (strict["customer_id"], strict["state"], strict["stated_time"]) == ("a", "denied", None)
        assert await exported(store, "nobody") == []

    run(opened, tmp_path, main)


@every_store
def test_an_export_goes_on_where_a_page_ended(opened, tmp_path):
    async def main(store):
        long = json.dumps("v" * 300_000)
        await store.upsert([update("a", at=time, plan=long) for time in range(1, 12)])
        first = await store.export(["a"], "")
        assert first.next_token
        rows = await exported(store, "a")
        assert len(first.rows) < len(rows) == len(set(rows)) == 12
        assert rows[: len(first.rows)] == list(first.rows)

    run(opened, tmp_path, main)


@every_store
@pytest.mark.parametrize(
    "token", ["x", "[]", '["nowhere", ["a"]]', '["customers", []]', '["customers", "a"]', '["links", [{}]]']
)
def test_a_token_that_is_none_is_refused(opened, token, tmp_path):
    async def main(store):
        with pytest.raises(InvalidRow):
            await store.export(["a"], token)

    run(opened, tmp_path, main)


@every_store
def test_an_erasure_leaves_a_hash_and_nothing_else(opened, tmp_path):
    async def main(store):
        await filled(store)
        stranger = await read(store, "x"), await exported(store, "x")
        assert await store.erase(["b", "a", "b"], lambda: 500) == {
            "customers": 2,
            "identities": 2,
            "attributes": 2,
            "consents": 3,
            "links": 3,
            "memberships": 1,
            "counter": 0,
            "erasures": 0,
        }
        assert await store.read(["a", "b"], None) == [None, None]
        assert await owner_of(store, "card-a") is None
        assert await store.links("a") == await store.consents_of("a") == await exported(store, "a", "b") == []
        assert (await read(store, "x"), await exported(store, "x")) == stranger
        assert await store.erase(["a"], lambda: 600) == dict.fromkeys(NAMES, 0)

    run(opened, tmp_path, main)


@every_store
def test_who_is_one_with_somebody_not_named_is_not_erased(opened, tmp_path):
    async def main(store):
        await filled(store)
        before = await exported(store, "a", "b", "c")
        for ids in (["a"], ["b"], ["b", "c", "nobody"]):
            assert await store.erase(ids, lambda: 500) is None
        assert await exported(store, "a", "b", "c") == before
        await store.link(unlink("l-4", "b"))
        assert (await store.erase(["a"], lambda: 500))["customers"] == 1
        assert (await read(store, "b")).members == ("b",)

    run(opened, tmp_path, main)


@every_store
def test_who_was_linked_to_an_erased_one_keeps_all_but_that_history(opened, tmp_path):
    async def main(store):
        await filled(store)
        assert (await store.erase(["c"], lambda: 500))["links"] == 2
        profile = await read(store, "a")
        assert (profile.members, profile.version) == (("a", "b"), 1)
        assert [act.linking.link_id for act in await store.links("a")] == ["l-1"]
        assert len(await store.consents_of("a")) == 3
        # A number is never used again.
        await made(store, "d")
        assert (await store.link(link("l-5", "a", "d"))).family.version == 4

    run(opened, tmp_path, main)


@every_store
def test_what_is_recorded_later_is_of_a_new_customer(opened, tmp_path):
    async def main(store):
        await filled(store)
        await store.erase(["a", "b"], lambda: 500)
        assert await store.record([consent("r-a", customer_id="a")]) == [Recorded.CUSTOMER_UNKNOWN]
        assert (await store.link(link("l-1", "a", "x"))).answer is LinkAnswer.CUSTOMER_UNKNOWN
        assert await store.upsert([update("x", cards=["card-b"]), update("a", at=5, cards=["card-a"])]) == [
            None,
            None,
        ]
        assert await store.record([consent("r-a", customer_id="a", at=5)]) == [Recorded.NEW]
        profile = await read(store, "a")
        assert (profile.members, profile.version, profile.attributes) == (("a",), 0, {})
        assert len(profile.consents) == 1
        assert await owner_of(store, "card-b") == "x"
        assert (await store.link(link("l-1", "a", "x"))).answer is LinkAnswer.NEW

    run(opened, tmp_path, main)


def test_a_tombstone_does_not_tell_who_it_was():
    assert tombstone("anna") == "55579b557896d0ce1764c47fed644f9b35f58bad620674af23f356d80ed0c503"


@every_store
def test_a_link_id_that_an_erasure_made_free_names_another_link(opened, tmp_path):
    async def main(store):
        await made(store, "a", "b", "d")
        await store.record(
            [consent("r-a", customer_id="a"), consent("r-b", customer_id="b", state=State.DENIED)]
        )
        await store.link(link("l-1", "a", "b", at=100))
        await store.link(unlink("l-2", "b", at=200))
        assert await store.erase(["b"], lambda: 300)
        await store.record([consent("again", customer_id="a", at=400)])
        await store.record([consent("r-d", customer_id="d", at=400, state=State.WITHDRAWN)])
        linked = await store.link(link("l-1", "a", "d", at=500))
        assert linked.answer is LinkAnswer.NEW
        assert [one.statement.state for one in (await read(store, "a")).consents] == [State.WITHDRAWN]

    run(opened, tmp_path, main)
