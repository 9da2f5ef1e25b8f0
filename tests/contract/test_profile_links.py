"""What every store of profiles promises of customers who are one."""

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_stores import (
    consent,
    every_store,
    fake,
    link,
    made,
    owner_of,
    read,
    run,
    unlink,
    update,
)

from services.profile.domain.consents import State
from services.profile.domain.links import SOURCE, Family, LinkAnswer

NAMES = ("a", "b", "c", "d", "e")


def states(profile):
    return {
        (said.statement.purpose, said.statement.channel): said.statement.state for said in profile.consents
    }


@every_store
def test_a_link_makes_one_customer_of_two_by_either_id(opened, tmp_path):
    async def main(store):
        await made(store, "a", "b")
        linked = await store.link(link("l-1", "a", "b"))
        assert linked.answer is LinkAnswer.NEW
        assert linked.family == Family(customer_id="a", members=("a", "b"), version=1)
        for name in ("a", "b"):
            profile = await read(store, name)
            assert (profile.customer_id, profile.members, profile.version) == ("a", ("a", "b"), 1)
        assert await owner_of(store, "card-b") == "a"

    run(opened, tmp_path, main)


@every_store
def test_an_unlink_restores_both(opened, tmp_path):
    async def main(store):
        await store.upsert(
            [update("a", at=10, cards=["1"], plan='"x"'), update("b", at=20, cards=["2"], plan='"y"')]
        )
        before = [await read(store, name) for name in ("a", "b")]
        await store.link(link("l-1", "a", "b"))
        assert (await read(store, "a")).attributes["plan"].value == "y"
        left = await store.link(unlink("l-2", "b"))
        assert (left.family.members, left.left.members) == (("a",), ("b",))
        after = [await read(store, name) for name in ("a", "b")]
        assert [replace(one, version=0) for one in after] == [replace(one, version=0) for one in before]
        assert {one.version for one in after} == {2}
        assert await owner_of(store, "2") == "b"

    run(opened, tmp_path, main)


@every_store
def test_an_act_is_put_on_file_once(opened, tmp_path):
    async def main(store):
        await made(store, "a", "b", "c")
        await store.link(link("l-1", "a", "b"))
        again = await store.link(link("l-1", "a", "b", at=999))
        assert (again.answer, again.family.version) == (LinkAnswer.DUPLICATE, 1)
        assert (await store.link(link("l-1", "a", "c"))).answer is LinkAnswer.REUSED
        assert (await store.link(unlink("l-1", "b"))).answer is LinkAnswer.REUSED
        assert (await store.link(link("l-2", "b", "a"))).answer is LinkAnswer.DUPLICATE
        assert (await read(store, "c")).members == ("c",)

    run(opened, tmp_path, main)


@every_store
def test_whom_nobody_knows_cannot_be_linked(opened, tmp_path):
    async def main(store):
        await made(store, "a")
        for act in (link("l-1", "a", "x"), link("l-2", "x", "a"), unlink("l-3", "x")):
            assert (await store.link(act)).answer is LinkAnswer.CUSTOMER_UNKNOWN
        assert (await store.link(unlink("l-4", "a"))).answer is LinkAnswer.NOT_LINKED
        assert (await read(store, "a")).version == 0
        assert await store.links("x") == []

    run(opened, tmp_path, main)


@every_store
@pytest.mark.parametrize(
    ("ours", "theirs", "counts"),
    [
        (("granted", None), ("denied", None), ("denied", None)),
        (("withdrawn", None), ("granted", None), ("withdrawn", None)),
        (("granted", None), ("granted", 500), ("granted", 500)),
        (("granted", 400), ("granted", 500), ("granted", 400)),
        (("granted", None), None, ("granted", None)),
        (None, ("denied", None), ("denied", None)),
    ],
    ids=str,
)
@pytest.mark.parametrize("ours_is_newer", [False, True])
def test_the_stricter_consent_counts_for_both_and_stays(
    opened, ours, theirs, counts, ours_is_newer, tmp_path
):
    def said(name, what, at):
        if what is None:
            return []
        return [consent(f"r-{name}", customer_id=name, at=at, state=State(what[0]), expire_time=what[1])]

    async def main(store):
        await made(store, "a", "b")
        times = (60, 50) if ours_is_newer else (50, 60)
        await store.record([*said("a", ours, times[0]), *said("b", theirs, times[1])])
        await store.link(link("l-1", "a", "b"))

        async def counted(name):
            profile = await read(store, name)
            return [(one.statement.state.value, one.statement.expire_time) for one in profile.consents]

        assert await counted("a") == await counted("b") == [counts]
        await store.link(unlink("l-2", "b"))
        assert await counted("a") == ([] if ours is None else [counts])
        assert await counted("b") == ([] if theirs is None else [counts])
        sources = [one.statement.source for one in await store.consents_of("a")]
        assert sources.count(SOURCE) <= 1
        await store.record([consent("r-new", customer_id="a", at=300)])
        assert await counted("a") == [("granted", None)]

    run(opened, tmp_path, main)


@every_store
def test_what_was_withdrawn_while_they_were_one_stays_withdrawn_for_both(opened, tmp_path):
    async def main(store):
        await made(store, "a", "b", "c")
        await store.record([consent(f"r-{name}", customer_id=name, at=50) for name in ("a", "b")])
        await store.link(link("l-1", "a", "b"))
        await store.link(link("l-2", "a", "c"))
        withdrawn = {"customer_id": "a", "at": 150, "state": State.WITHDRAWN}
        await store.record([consent("r-1", **withdrawn), consent("r-2", **withdrawn, channel="sms")])
        await store.link(unlink("l-3", "b"))
        assert states(await read(store, "b")) == {("marketing", "mail"): State.WITHDRAWN}
        newest = (await store.consents_of("b"))[-1]
        assert (newest.statement.source, newest.record_time) == (SOURCE, 200)
        told = await store.consents_of("a")
        await store.link(unlink("l-4", "c"))
        # Of whom nothing is said nothing is permitted.
        assert (await store.consents_of("a"), await store.consents_of("c")) == (told, [])
        await store.record([consent("r-3", customer_id="b", at=300)])
        assert states(await read(store, "b")) == {("marketing", "mail"): State.GRANTED}

    run(opened, tmp_path, main)


@every_store
def test_what_a_link_made_stricter_stays_so_for_every_member_that_leaves(opened, tmp_path):
    async def main(store):
        await made(store, "a", "b", "c")
        await store.record(
            [consent("r-1", customer_id="b"), consent("r-2", customer_id="c", expire_time=900)]
        )
        await store.link(link("l-1", "a", "b"))
        await store.link(link("l-2", "a", "c"))
        await store.link(unlink("l-3", "b"))
        for name in NAMES[:3]:
            (counted,) = (await read(store, name)).consents
            assert counted.statement.expire_time == 900

    run(opened, tmp_path, main)


@every_store
def test_a_consent_of_any_member_binds_all_from_its_record_on(opened, tmp_path):
    async def main(store):
        await made(store, "a", "b")
        await store.record([consent("r-1", customer_id="a", at=50)])
        await store.link(link("l-1", "a", "b"))
        await store.record([consent("r-2", customer_id="b", at=150, state=State.WITHDRAWN)])
        assert states(await read(store, "a")) == {("marketing", "mail"): State.WITHDRAWN}
        assert states(await read(store, "a", 150)) == {("marketing", "mail"): State.GRANTED}

    run(opened, tmp_path, main)


@every_store
def test_of_equal_times_the_value_of_whom_it_was_linked_to_counts(opened, tmp_path):
    async def main(store):
        await store.upsert([update(name, at=10, plan=json.dumps(name)) for name in ("b", "c", "a")])
        await store.link(link("l-1", "b", "c"))
        await store.link(link("l-2", "b", "a"))
        assert (await read(store, "a")).attributes["plan"].value == "b"

    run(opened, tmp_path, main)


@every_store
def test_every_act_is_told_even_of_who_has_left(opened, tmp_path):
    async def main(store):
        await made(store, "a", "b", "c", "d", "e")
        acts = [link("l-1", "a", "b"), link("l-2", "c", "d"), link("l-3", "b", "d"), unlink("l-4", "c")]
        for act in acts:
            await store.link(act)
        for name in ("a", "b", "c", "d"):
            told = await store.links(name)
            assert [one.linking for one in told] == acts
        assert [(one.customer_id, one.member_id) for one in await store.links("a")] == [
            ("a", "b"),
            ("c", "d"),
            ("a", "c"),
            ("a", "c"),
        ]
        assert await store.links("e") == []

    run(opened, tmp_path, main)


@every_store
def test_links_at_the_same_moment_make_no_circle(opened, tmp_path):
    async def main(store):
        await made(store, *NAMES)
        pairs = [(one, two) for one in NAMES for two in NAMES if one != two]
        acts = [link(f"l-{one}{two}", one, two) for one, two in pairs]
        answers = await asyncio.gather(*map(store.link, acts))
        assert [answer.answer for answer in answers].count(LinkAnswer.NEW) == len(NAMES) - 1
        families = [await read(store, name) for name in NAMES]
        assert {family.members for family in families} == {NAMES}
        assert len({family.customer_id for family in families}) == 1

    run(opened, tmp_path, main)


class Slow:
    """Who is one, the slow and obvious way: each customer's pointer, followed every time."""

    def __init__(self):
        self.pointers = {}

    def root(self, name):
        while name in self.pointers:
            name = self.pointers[name]
        return name

    def link(self, one, two):
        if self.root(one) != self.root(two):
            self.pointers[self.root(two)] = self.root(one)

    def members(self, name):
        return tuple(other for other in NAMES if self.root(other) == self.root(name))


acts = st.lists(
    st.one_of(
        st.tuples(st.just("link"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.tuples(st.just("unlink"), st.sampled_from(NAMES), st.none()),
    ),
    max_size=25,
)


@every_store
def test_who_is_one_is_as_the_pointers_say(opened, tmp_path_factory):
    @settings(max_examples=40 if opened is fake else 15)
    @given(acts)
    def holds(said):
        async def main(store):
            await made(store, *NAMES)
            slow, version = Slow(), 0
            for number, (what, one, two) in enumerate(said):
                if what == "unlink":
                    await store.link(unlink(f"l-{number}", one))
                    slow.pointers.pop(one, None)
                elif one != two:
                    await store.link(link(f"l-{number}", one, two))
                    slow.link(one, two)
                profiles = {name: await read(store, name) for name in NAMES}
                assert {name: found.members for name, found in profiles.items()} == {
                    name: slow.members(name) for name in NAMES
                }
                assert {name: found.customer_id for name, found in profiles.items()} == {
                    name: slow.root(name) for name in NAMES
                }
                newest = max(found.version for found in profiles.values())
                assert newest >= version
                version = newest

        run(opened, tmp_path_factory.mktemp("links"), main)

    holds()


def leniency(profile):
    """Return how much a customer permits, by purpose and channel; what is not there permits nothing."""
    return {
        (said.statement.purpose, said.statement.channel): said.statement.expire_time or 1_000
        for said in profile.consents
        if said.statement.state is State.GRANTED
    }


lives = st.lists(
    st.one_of(
        st.tuples(st.just("link"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.tuples(st.just("unlink"), st.sampled_from(NAMES), st.none()),
        st.tuples(
            st.sampled_from(NAMES),
            st.sampled_from(State),
            st.tuples(
                st.integers(1, 400), st.sampled_from([None, 500, 600]), st.sampled_from(["mail", "sms"])
            ),
        ),
    ),
    min_size=5,
    max_size=30,
)


@every_store
def test_nobody_permits_more_by_an_unlink_than_just_before(opened, tmp_path_factory):
    @settings(max_examples=150 if opened is fake else 15)
    @given(lives)
    def holds(life):
        async def main(store):
            await made(store, *NAMES)
            for number, (what, one, two) in enumerate(life):
                before = {name: leniency(await read(store, name)) for name in NAMES}
                if what == "unlink":
                    await store.link(unlink(f"l-{number}", one))
                elif what == "link" and one != two:
                    await store.link(link(f"l-{number}", one, two))
                elif what != "link":
                    at, expire_time, channel = two
                    fields = {"at": at, "expire_time": expire_time, "channel": channel}
                    await store.record([consent(f"r-{number}", customer_id=what, state=one, **fields)])
                if what == "unlink":
                    for name in NAMES:
                        for key, end in leniency(await read(store, name)).items():
                            assert end <= before[name].get(key, 0)

        run(opened, tmp_path_factory.mktemp("unlinks"), main)

    holds()
