"""What every contact ledger promises: a slot is taken once, by who knows the latest."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from decision_logs import NOW, entry, every_log, offer, outcome, using

from services.engine.policy.contact import Contact, Ledger, Response
from services.gateway.domain.ledger import Claim
from services.gateway.ports import LeaseOver, LedgerMoved

HOUR = timedelta(hours=1)
UNTIL = NOW + 24 * HOUR
BREAD, SURVEY = offer("bread-coupon", UNTIL), offer("survey", group="service", is_inbound=True)
NEW = {"anna": 0}
GO = Claim(claim_id="sender", time=NOW + HOUR)
NO = Claim(claim_id="sender", time=NOW + HOUR, code="NO_CONSENT", text="The customer refused.")


def reserving(decision_id="d-1", versions=NEW, **changes):
    return entry(decision_id, offers=[BREAD, SURVEY], versions=versions, **changes)


def reserved(**changes):
    return replace(Contact(facts=BREAD.facts, reserve_time=NOW, expire_time=UNTIL), **changes)


async def read(held, *members, since=NOW - HOUR):
    return await held.log.ledger(members or ("anna",), since)


async def contacts(held, *members, **options):
    return list((await read(held, *members, **options)).ledger.contacts)


@every_log
def test_an_empty_ledger_has_no_contacts_and_versions_of_zero(opened, tmp_path):
    async def exercise(held):
        reading = await read(held, "anna", "ben")
        assert reading.versions == {"anna": 0, "ben": 0}
        assert (list(reading.ledger.contacts), list(reading.ledger.responses)) == ([], [])
        assert await held.log.standing("d-1", 1) is None

    using(opened, tmp_path, exercise)


@every_log
def test_a_live_decision_keeps_who_was_one_until_a_later_act_is_known(opened, tmp_path):
    async def exercise(held):
        kept = {}

        async def see(version, *members, **changes):
            entry_id = f"d-{len(kept)}"
            kept[entry_id] = members
            family = {"customer_id": members[0], "members": sorted(members), "identity_version": version}
            await held.log.append(entry(entry_id, **family | changes))

        async def families():
            return {"".join(await held.log.family(name)) for name in "abcdxyz"}

        await see(0, "a", "b")
        await see(3, "x", "y", live=False)
        assert await families() == set("abcdxyz")
        await see(4, "b", "a")
        await see(3, "a", "c")
        assert await families() == {"ab", "c", *"dxyz"}
        await see(6, "b", "a", "c", "d")
        await see(5, "b", "a")
        assert await families() == {"abcd", *"xyz"}
        await see(8, "c")
        assert await families() == {"abd", "c", *"xyz"}
        await see(9, "b", "a")
        assert await families() == {"ab", "c", "d", *"xyz"}

    using(opened, tmp_path, exercise)


@every_log
def test_a_decision_that_is_not_written_keeps_nobody(opened, tmp_path):
    async def exercise(held):
        family = {"members": ["anna", "ben"], "identity_version": 1}
        with pytest.raises(LeaseOver):
            await held.log.append(entry(valid_until=time.monotonic() - 1, **family))
        with pytest.raises(LedgerMoved):
            await held.log.append(reserving(versions={"anna": 7}, **family))
        assert await held.log.family("ben") == ["ben"]
        await held.log.append(entry(**family))
        assert await held.log.family("ben") == ["anna", "ben"]
        await held.log.erase(["ben"], lambda: NOW)
        assert await held.log.family("ben") == ["ben"]
        assert await held.log.family("anna") == ["anna"]

    using(opened, tmp_path, exercise)


@every_log
def test_a_decision_takes_its_slots_with_it(opened, tmp_path):
    async def exercise(held):
        assert await held.log.append(reserving()) is None
        reading = await read(held)
        assert list(reading.ledger.contacts) == [reserved()]
        assert reading.versions["anna"] > 0
        assert (await held.log.standing("d-1", 1)).contact == reserved()
        assert (await held.log.standing("d-1", 2)).contact is None
        assert (await held.log.standing("d-1", 2)).offer == SURVEY
        assert await held.log.standing("d-1", 3) is None
        assert await held.log.standing("d-1", 0) is None

    using(opened, tmp_path, exercise)


@every_log
def test_who_decided_by_an_older_ledger_writes_nothing(opened, tmp_path):
    async def exercise(held):
        await held.log.append(reserving())
        with pytest.raises(LedgerMoved):
            await held.log.append(reserving("d-2"))
        assert await held.log.find("d-2", live=True) is None
        assert await contacts(held) == [reserved()]
        versions = (await read(held)).versions
        assert await held.log.append(reserving("d-2", versions)) is None
        assert await contacts(held) == [reserved(), reserved()]

    using(opened, tmp_path, exercise)


@every_log
def test_of_many_who_decided_by_the_same_ledger_one_takes_a_slot(opened, tmp_path):
    async def exercise(held):
        entries = [reserving(f"d-{number}") for number in range(3)]
        answers = await asyncio.gather(*map(held.log.append, entries), return_exceptions=True)
        assert answers.count(None) == 1
        assert sum(isinstance(answer, LedgerMoved) for answer in answers) == 2
        assert len(await contacts(held)) == 1

    using(opened, tmp_path, exercise)


@every_log
def test_a_decision_that_reserves_nothing_asks_for_no_version(opened, tmp_path):
    async def exercise(held):
        await held.log.append(reserving())
        assert await held.log.append(entry("d-2", versions=NEW)) is None
        assert await held.log.append(reserving("d-1")) is not None
        assert len(await contacts(held)) == 1

    using(opened, tmp_path, exercise)


@every_log
def test_members_share_a_ledger_and_keep_their_own(opened, tmp_path):
    async def exercise(held):
        await held.log.append(reserving())
        await held.log.append(reserving("d-2", {"ben": 0}, customer_id="ben", record_time=NOW + HOUR))
        both = await read(held, "ben", "anna")
        assert list(both.ledger.contacts) == [reserved(), reserved(reserve_time=NOW + HOUR)]
        with pytest.raises(LedgerMoved):
            await held.log.append(reserving("d-3", {**both.versions, "anna": 0}))
        assert await held.log.append(reserving("d-3", both.versions)) is None
        after = await read(held, "anna", "ben")
        assert all(after.versions[member] > version for member, version in both.versions.items())
        assert len(await contacts(held, "anna")) == 2
        assert len(await contacts(held, "ben")) == 1

    using(opened, tmp_path, exercise)


@every_log
@pytest.mark.parametrize("said", [GO, NO], ids=["go", "cancelled"])
def test_the_first_verdict_on_a_claim_stands(opened, said, tmp_path):
    async def exercise(held):
        await held.log.append(reserving())
        versions = (await read(held)).versions
        assert await held.log.claim("d-1", 1, said, versions) == said
        assert await held.log.claim("d-1", 1, replace(GO, claim_id="other"), versions) == said
        standing = await held.log.standing("d-1", 1)
        assert standing.claim == said
        taken = {"consume_time": GO.time} if said.goes else {"release_time": NO.time}
        assert standing.contact == reserved(**taken)
        assert (await read(held)).versions["anna"] > versions["anna"]

    using(opened, tmp_path, exercise)


@every_log
def test_a_claim_judged_by_an_older_ledger_takes_nothing(opened, tmp_path):
    async def exercise(held):
        await held.log.append(reserving())
        versions = (await read(held)).versions
        await held.log.append(reserving("d-2", versions))
        with pytest.raises(LedgerMoved):
            await held.log.claim("d-1", 1, GO, versions)
        assert (await held.log.standing("d-1", 1)).claim is None

    using(opened, tmp_path, exercise)


@every_log
def test_who_took_too_long_to_know_who_is_one_customer_writes_nothing(opened, tmp_path):
    async def exercise(held):
        late = time.monotonic() - 0.001
        with pytest.raises(LeaseOver):
            await held.log.append(reserving(valid_until=late))
        assert await held.log.find("d-1", live=True) is None
        assert await contacts(held) == []
        assert await held.log.append(reserving(valid_until=late + 60)) is None
        versions = (await read(held)).versions
        with pytest.raises(LeaseOver):
            await held.log.claim("d-1", 1, GO, versions, late)
        assert (await held.log.standing("d-1", 1)).claim is None
        assert await held.log.claim("d-1", 1, GO, versions, late + 60) == GO

    using(opened, tmp_path, exercise)


@every_log
def test_what_reserved_nothing_can_be_claimed(opened, tmp_path):
    async def exercise(held):
        await held.log.append(reserving())
        await held.log.claim("d-1", 2, GO, (await read(held)).versions)
        taken = Contact(facts=SURVEY.facts, consume_time=GO.time)
        assert (await held.log.standing("d-1", 2)).contact == taken
        assert await contacts(held) == [reserved(), taken]

    using(opened, tmp_path, exercise)


@every_log
@pytest.mark.parametrize(
    ("rank", "kind", "counts", "is_unclaimed"),
    [
        (1, "DELIVERED", True, True),
        (1, "VIEWED", True, True),
        (1, "ACCEPTED", False, False),
        (1, "REJECTED", False, False),
        (2, "DELIVERED", False, False),
        (2, "VIEWED", True, False),
    ],
)
def test_outcomes_tell_of_contacts(opened, rank, kind, counts, is_unclaimed, tmp_path):
    async def exercise(held):
        await held.log.append(reserving())
        before = (await read(held)).versions["anna"]
        told = outcome(rank=rank, kind=kind, outcome_time=NOW + HOUR)
        settled = await held.log.record_outcomes([told, told], NOW)
        assert (settled.verdicts, settled.unclaimed) == (["accepted", "duplicate"], int(is_unclaimed))
        contact = (await held.log.standing("d-1", rank)).contact
        assert (contact is not None and contact.consume_time == NOW + HOUR) is counts
        reading = await read(held)
        facts = (BREAD, SURVEY)[rank - 1].facts
        assert list(reading.ledger.responses) == [Response(facts=facts, kind=kind.lower(), time=NOW + HOUR)]
        assert reading.versions["anna"] > before
        again = await held.log.record_outcomes([replace(told, outcome_id="o-2")], NOW)
        assert again.unclaimed == 0

    using(opened, tmp_path, exercise)


@every_log
@pytest.mark.parametrize("kind", ["DELIVERED", "REJECTED"])
def test_what_is_dated_long_before_its_decision_happened_with_it(opened, kind, tmp_path):
    async def exercise(held):
        await held.log.append(entry(offers=[replace(BREAD, decided=NOW)], versions=NEW))
        told = outcome(kind=kind, outcome_time=NOW - 40 * 24 * HOUR)
        await held.log.record_outcomes([told], NOW)
        reading = await read(held, since=NOW - HOUR)
        assert list(reading.ledger.responses) == [Response(facts=BREAD.facts, kind=kind.lower(), time=NOW)]
        assert list(reading.ledger.contacts) == [reserved(consume_time=NOW if kind == "DELIVERED" else None)]
        assert await held.log.outcomes_of("d-1") == [told]

    using(opened, tmp_path, exercise)


@every_log
def test_a_claimed_delivery_is_not_counted_again(opened, tmp_path):
    async def exercise(held):
        await held.log.append(reserving())
        await held.log.claim("d-1", 1, GO, (await read(held)).versions)
        settled = await held.log.record_outcomes(
            [outcome(kind="DELIVERED", outcome_time=NOW + 2 * HOUR)], NOW
        )
        assert settled.unclaimed == 0
        assert await contacts(held) == [reserved(consume_time=GO.time)]

    using(opened, tmp_path, exercise)


@every_log
def test_what_was_delivered_in_spite_of_a_cancellation_counts(opened, tmp_path):
    async def exercise(held):
        await held.log.append(reserving())
        await held.log.claim("d-1", 1, NO, (await read(held)).versions)
        settled = await held.log.record_outcomes(
            [outcome(kind="DELIVERED", outcome_time=NOW + 2 * HOUR)], NOW
        )
        assert settled.unclaimed == 1
        assert await contacts(held) == [reserved(consume_time=NOW + 2 * HOUR)]
        assert (await held.log.standing("d-1", 1)).claim == NO

    using(opened, tmp_path, exercise)


@every_log
def test_several_outcomes_of_one_batch_tell_of_one_contact(opened, tmp_path):
    async def exercise(held):
        await held.log.append(reserving())
        reports = [outcome(f"o-{kind}", kind=kind) for kind in ("DELIVERED", "VIEWED", "REJECTED")]
        settled = await held.log.record_outcomes(reports, NOW)
        assert (settled.verdicts, settled.unclaimed) == (["accepted"] * 3, 1)
        assert await contacts(held) == [reserved(consume_time=NOW)]

    using(opened, tmp_path, exercise)


@every_log
def test_what_is_over_before_a_time_may_be_left_out(opened, tmp_path):
    async def exercise(held):
        await held.log.append(reserving())
        assert await contacts(held, since=UNTIL) == [reserved()]
        await held.log.claim("d-1", 1, GO, (await read(held)).versions)
        assert await contacts(held, since=GO.time) == [reserved(consume_time=GO.time)]

    using(opened, tmp_path, exercise)


@every_log
def test_an_override_is_an_outcome_even_of_an_empty_answer(opened, tmp_path):
    async def exercise(held):
        await held.log.append(entry())
        await held.log.append(entry("silent", offers=[]))
        said = {"kind": "OVERRIDDEN", "instead_action_id": "survey", "actor_id": "agent-7"}
        reports = [
            outcome("o-1", **said),
            outcome("o-2", rank=0, **said),
            outcome("o-3", decision_id="silent", rank=0, **said),
            outcome("o-4", decision_id="silent", **said),
        ]
        settled = await held.log.record_outcomes(reports, NOW)
        assert settled.verdicts == ["accepted", "unknown", "accepted", "unknown"]
        assert await held.log.outcomes_of("d-1") == [reports[0]]
        assert await held.log.outcomes_of("silent") == [reports[2]]
        other = replace(reports[0], actor_id="agent-8")
        assert (await held.log.record_outcomes([other], NOW)).verdicts == ["reused"]

    using(opened, tmp_path, exercise)


@every_log
def test_a_dry_run_leaves_no_trace_on_the_ledger(opened, tmp_path):
    async def exercise(held):
        await held.log.append(entry(live=False, offers=[]))
        assert (await read(held)).ledger == Ledger(contacts=[], responses=[])
        assert await held.log.standing("d-1", 1) is None

    using(opened, tmp_path, exercise)
