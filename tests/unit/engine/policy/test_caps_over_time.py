"""A cap of N yields N claims: decisions and claims in any order, at any time, by the policy alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.instants import zone
from services.engine.policy.contact import Contact, ContactPolicy, Ledger
from tests.unit.engine.policy.slow_contacts import about, facts, first_day, first_moment, statements

SAO_PAULO = (zone("America/Sao_Paulo"),)
BEGIN = datetime(2018, 11, 1, 12, tzinfo=UTC)
ITS = facts()
WINDOWS = ["1h", "1d", "2d", "day", "week", "month"]


class Desk:
    """Grants, claims and releases contacts with one customer, one after the other."""

    def __init__(self, most, window):
        self.rules = statements(caps=[{"most": most, "window": window}])
        self.about = about(self.rules, ITS)
        self.contacts = []

    def policy(self, now):
        return ContactPolicy(Ledger(contacts=self.contacts), SAO_PAULO, now)

    def grant(self, now, claim_within):
        if self.policy(now).removal(self.about, ITS) is None:
            self.contacts.append(Contact(facts=ITS, reserve_time=now, expire_time=now + claim_within))
            return True
        return False

    def claim(self, number, now):
        """Claim what may still be claimed and tell whether it was refused."""
        open_now = [index for index, each in enumerate(self.contacts) if each.is_reserved(now)]
        if not open_now:
            return False
        index = open_now[number % len(open_now)]
        if self.policy(now).claim_removal(self.about, ITS) is not None:
            return True
        self.contacts[index] = replace(self.contacts[index], consume_time=now)
        return False

    def release(self, number, now):
        open_now = [index for index, each in enumerate(self.contacts) if each.is_reserved(now)]
        if open_now:
            index = open_now[number % len(open_now)]
            self.contacts[index] = replace(self.contacts[index], release_time=now)

    @property
    def claims(self):
        return sorted(each.consume_time for each in self.contacts if each.consume_time is not None)


LENGTHS = st.sampled_from([0, 1, 5, 30, 60, 12 * 60, 24 * 60, 25 * 60]).map(lambda m: timedelta(minutes=m))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["grant", "grant", "claim", "claim", "release"]),
        LENGTHS,
        st.sampled_from([timedelta(0), timedelta(microseconds=1), timedelta(microseconds=-1)]),
        st.integers(0, 5),
        LENGTHS.filter(bool),
    ),
    max_size=30,
)


def run(desk, steps):
    """Go through the steps; return how many claims were refused."""
    now, refused = BEGIN, 0
    for what, forward, off, number, claim_within in steps:
        now = max(now, now + forward + off)
        if what == "grant":
            desk.grant(now, claim_within)
        elif what == "claim":
            refused += desk.claim(number, now)
        else:
            desk.release(number, now)
    return refused


@settings(max_examples=400)
@given(st.integers(1, 3), st.sampled_from(WINDOWS), STEPS)
def test_no_window_holds_more_claims_than_the_cap_and_no_claim_is_refused(most, window, steps):
    desk = Desk(most, window)
    assert run(desk, steps) == 0
    cap = desk.rules[0].rule
    for last in desk.claims:
        if isinstance(cap.window, timedelta):
            within = [time for time in desk.claims if last - cap.window <= time <= last]
        else:
            zone_name = SAO_PAULO[0].key
            start = first_moment(first_day(cap.window, last, zone_name), zone_name)
            within = [time for time in desk.claims if start <= time <= last]
        assert len(within) <= most


@settings(max_examples=100)
@given(st.integers(1, 5), st.sampled_from(WINDOWS), st.integers(0, 9))
def test_when_more_ask_than_the_cap_as_many_as_the_cap_are_granted_and_claimed(most, window, more):
    desk = Desk(most, window)
    granted = [desk.grant(BEGIN, timedelta(hours=1)) for _ in range(most + more)]
    assert granted == [True] * most + [False] * more
    assert not any(desk.claim(0, BEGIN + timedelta(seconds=number)) for number in range(most))
    assert len(desk.claims) == most


@settings(max_examples=100)
@given(st.integers(1, 3), st.sampled_from(WINDOWS))
def test_what_expires_or_is_given_back_is_granted_again(most, window):
    desk = Desk(most, window)
    for number in range(most):
        desk.grant(BEGIN, timedelta(minutes=number + 1))
    for number in range(most):
        at = BEGIN + timedelta(minutes=number + 1)
        assert not desk.grant(at - timedelta(microseconds=1), timedelta(hours=1))
        assert desk.grant(at, timedelta(hours=1))
    desk.release(0, BEGIN + timedelta(minutes=most))
    assert desk.grant(BEGIN + timedelta(minutes=most), timedelta(hours=1))
