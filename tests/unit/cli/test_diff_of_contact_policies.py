"""A change of the contact policy is simulated over time, each playbook on its own ledger."""

from collections import Counter, defaultdict
from datetime import timedelta

import pytest
from deciding import instant
from differing import STALL, Part, diff, edition, logged, told
from hypothesis import given, settings
from hypothesis import strategies as st
from tact.decision.v1 import decision_service_pb2 as pb

from services.chassis.rpc import Call
from services.cli.decision_log import Entry

WEEK = timedelta(days=7)
BASE = edition()
NIGHT = {"name": "night", "text": "They sleep.", "from": "20:00", "to": "07:00"}


def cap(most, window="7d", **fields):
    """Write a cap."""
    return {"name": "enough", "text": "Enough is enough.", "most": most, "window": window, **fields}


def capped(most, *changes, window="7d"):
    """Load the stall with one cap."""
    return edition(("policies", "caps", [cap(most, window)]), *changes)


def slow(records, most, counts=None, taken_at=lambda moment: moment, window=WEEK):
    """Answer decision by decision what a cap leaves of the candidates on record, the obvious way.

    ``counts`` says how many contacts the caller counts instead, by position of the decision.
    """
    contacts, answers = defaultdict(list), []
    for place, record in enumerate(records):
        response = record.response
        now = response.decision_time.ToDatetime()
        before = [when for when in contacts[response.customer_id] if when >= now - window]
        count = len(before) if counts is None else counts[place]
        best = [("do_nothing", 0.0)]
        if count < most:
            best += [
                (one.action_id, one.priority)
                for one in record.candidates
                if one.treatment_id and not one.removed_stage and one.priority > 0
            ]
        answers.append(max(best, key=lambda one: one[1])[0])
        if answers[-1] != "do_nothing":
            contacts[response.customer_id].append(taken_at(now))
    return answers


def counted(records, answers):
    """Count, for each decision, the contacts of the week before, had these been the answers."""
    contacts, counts = defaultdict(list), []
    for record, answer in zip(records, answers, strict=True):
        now = record.response.decision_time.ToDatetime()
        held = contacts[record.response.customer_id]
        counts.append(sum(when >= now - WEEK for when in held))
        held += [now] if answer != "do_nothing" else []
    return counts


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_cap_of_one_instead_of_two_shows_what_a_slow_simulation_shows(seed):
    log = logged(BASE, seed=seed, decisions=250, customers=8, hours=6)
    comparison = diff(log, capped(2), capped(1))
    by_two, by_one = slow(log.records, 2), slow(log.records, 1)
    assert [row.old.first for row in comparison.rows] == by_two
    assert [row.new.first for row in comparison.rows] == by_one
    assert comparison.is_simulated

    refiltered = slow(log.records, 1, counts=counted(log.records, by_two))
    assert refiltered != by_one
    found = told(comparison)
    assert found.no_action.new == by_one.count("do_nothing") / 250
    assert by_two.count("do_nothing") < by_one.count("do_nothing") < refiltered.count("do_nothing")
    assert dict(found.flows) == Counter(
        pair for pair in zip(by_two, by_one, strict=True) if pair[0] != pair[1]
    )
    reasons = {reason[:2] for reason, _ in found.losses}
    assert ("contact", "enough") in reasons
    assert all(text == "Enough is enough." for (stage, _, text), _ in found.losses if stage == "contact")


def test_a_first_cap_takes_and_a_lifted_one_gives_back():
    log = logged(BASE, decisions=120, customers=5, hours=6)
    taken, given_back = diff(log, BASE, capped(1)), diff(log, capped(1), BASE)
    assert [row.old for row in taken.rows] == [row.new for row in given_back.rows]
    assert [row.new.first for row in taken.rows] == slow(log.records, 1)
    assert all(row.agrees for row in taken.rows)


def test_what_waits_for_the_morning_is_counted_at_once_and_from_the_morning_on():
    quiet = ("policies", "quiet_hours", [NIGHT])
    log = logged(edition(quiet), decisions=200, customers=4, hours=8)
    window = timedelta(hours=30)
    comparison = diff(log, capped(2, quiet, window="30h"), capped(1, quiet, window="30h"))

    def morning(now):
        if 7 <= now.hour < 20:
            return now
        day = now if now.hour < 7 else now + timedelta(days=1)
        return day.replace(hour=7, minute=0, second=0, microsecond=0)

    by_one = slow(log.records, 1, taken_at=morning, window=window)
    assert [row.old.first for row in comparison.rows] == slow(log.records, 2, taken_at=morning, window=window)
    assert [row.new.first for row in comparison.rows] == by_one
    assert by_one != slow(log.records, 1, window=window)


def test_without_a_contact_policy_nothing_is_simulated():
    assert not diff(logged(BASE, decisions=5), BASE, edition(("playbook", "threshold", 1))).is_simulated


CONTACT_POLICIES = (
    [("policies", "caps", [cap(2), cap(1, "day", name="daily", each=["channel"])])],
    [("policies", "caps", [cap(3, "week", each=["action"])])],
    [
        (
            "policies",
            "cool_downs",
            [
                {"name": "rests", "text": "It rests.", "after": "rejected", "rest": "9d"},
                {"name": "seen", "text": "Seen.", "after": "viewed", "rest": "2d", "each": ["channel"]},
            ],
        )
    ],
    [
        (
            "policies",
            "cool_downs",
            [{"name": "sent", "text": "Sent.", "after": "delivered", "rest": "3d", "each": ["group"]}],
        )
    ],
    [
        (
            "policies",
            "repeat_costs",
            [{"name": "again", "text": "It bores.", "amount": 0.4, "window": "30d", "each": ["action"]}],
        )
    ],
    [
        (
            "policies",
            "precedence",
            [
                {
                    "name": "bread_first",
                    "text": "Bread goes first.",
                    "applies_to": {"actions": ["tea"]},
                    "first": {"actions": ["bread"]},
                    "within": "2d",
                }
            ],
        )
    ],
)
SCREENS = (
    "actions",
    "actions",
    "tea",
    {
        **STALL["actions"]["actions"]["tea"],
        "treatments": {"screen": {"channel": "screen", "content": {"headline": "Tea"}}},
    },
)


async def delivered(rng, shop, answer):
    """Report what was answered as contacted at once, and now and then what became of it."""
    for action in answer.actions:
        kinds = ["VIEWED" if action.channel == "screen" else "DELIVERED"]
        kinds += rng.choice([[], ["ACCEPTED"], ["REJECTED"], ["REJECTED", "REJECTED"]])
        outcomes = [
            pb.Outcome(
                outcome_id=f"{answer.decision_id} {action.rank} {number}",
                decision_id=answer.decision_id,
                rank=action.rank,
                kind=f"OUTCOME_KIND_{kind}",
                outcome_time=instant(shop.now + number * timedelta(seconds=1)),
            )
            for number, kind in enumerate(kinds)
        ]
        recorded = await shop.servicer.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=outcomes), Call())
        assert all(result.WhichOneof("result") != "error" for result in recorded.results)


@settings(deadline=None, max_examples=12)
@given(policies=st.sampled_from(CONTACT_POLICIES), seed=st.integers(0, 99), most=st.integers(1, 3))
def test_the_simulated_ledger_decides_as_the_real_one_where_all_is_delivered_at_once(policies, seed, most):
    same = edition(SCREENS, *policies)
    log = logged(
        same, seed, decisions=40, customers=3, max_actions=most, live=True, afterwards=delivered, hours=12
    )
    comparison = diff(log, same, BASE)
    assert [row.decision_id for row in comparison.rows if not row.agrees] == []
    assert any(row.new.actions != row.old.actions for row in comparison.rows)


def test_a_log_that_begins_late_begins_with_the_contacts_on_record():
    same = capped(2)
    log = logged(same, decisions=80, customers=3, live=True, afterwards=delivered, hours=6)
    comparison = diff(Part(log.entries[40:], log.outcomes), same, capped(9))
    assert all(row.agrees for row in comparison.rows)
    assert any(row.old != row.new for row in comparison.rows[:5])


def test_a_rejection_counts_only_where_the_same_action_was_offered():
    rests = [{"name": "rests", "text": "It rests.", "after": "rejected", "rest": "300d", "each": ["group"]}]
    old = edition(("policies", "cool_downs", rests))
    never_cake = [{"name": "no", "text": "No.", "factor": 0, "applies_to": {"actions": ["cake"]}}]
    new = edition(("policies", "cool_downs", rests), ("policies", "levers", never_cake))

    async def reject_cake(rng, shop, answer):
        for action in answer.actions:
            if action.action_id == "cake":
                await delivered(Always(["REJECTED"]), shop, answer)

    class Always:
        def __init__(self, kinds):
            self.kinds = kinds

        def choice(self, _):
            return self.kinds

    log = logged(old, decisions=80, customers=3, live=True, afterwards=reject_cake)
    rejected, after = set(), Counter()
    for row in diff(log, old, new).rows:
        if row.customer_id in rejected:
            assert not row.old.picks
            after[bool(row.new.picks)] += 1
        if row.old.first == "cake":
            rejected.add(row.customer_id)
    assert after[True] > 10


def test_dry_runs_contact_nobody_about_whom_there_are_live_decisions():
    dry = logged(BASE, decisions=80, customers=3, hours=12)
    live = logged(BASE, decisions=1, customers=1, live=True)
    both = Part([*dry.entries, *live.entries])
    (contact,) = [row for row in diff(both, BASE, BASE).rows if row.live]
    assert contact.customer_id == "customer-0"
    assert contact.old.picks
    seen = Counter()
    for row in diff(both, BASE, capped(1)).rows:
        if row.customer_id == contact.customer_id and not row.live:
            rests = contact.time <= row.time <= contact.time + WEEK
            assert row.new.picks == (() if rests else row.old.picks)
            seen[rests, bool(row.old.picks)] += 1
    assert min(seen[True, True], seen[False, True]) > 1
    alone = diff(dry, BASE, capped(1)).rows
    assert any(row.old.picks and not row.new.picks for row in alone if row.customer_id == contact.customer_id)


def test_what_is_damaged_contacts_nobody():
    log = logged(BASE, decisions=100, customers=3, hours=5)
    entries = [
        Entry(entry.live, entry.decision_id, b"\xff" + entry.record) if place % 2 else entry
        for place, entry in enumerate(log.entries)
    ]
    comparison = diff(Part(entries), capped(1), capped(2))
    assert [row.old.first for row in comparison.rows] == slow(log.records[::2], 1)
    assert len(comparison.damaged) == 50
