import pytest

from services.engine.moments import Moment
from services.engine.playbook.loader import load, shipped
from services.engine.violations import Invalid
from services.profile.domain.consents import IncomingConsent, Recorded, State, check, newest, settle
from tests.playbooks import load_playbook

NOW = 1_510_000_000_000_000
NOW_SECONDS = NOW // 1_000_000


@pytest.fixture(scope="module")
def playbook():
    return load(shipped("retail"))


def incoming(**changes):
    fields = {
        "receipt_id": "r1",
        "customer_id": "c1",
        "purpose": "marketing",
        "channel": "mail",
        "state": State.GRANTED,
        "record_time": Moment(1_500_000_000, 0),
        "expire_time": Moment(1_600_000_000, 0),
        "source": "web-form",
    }
    return IncomingConsent(**{**fields, **changes})


@pytest.fixture(scope="module")
def profiling(tmp_path_factory):
    folder = tmp_path_factory.mktemp("playbook") / "shop"
    return load_playbook(folder, ("playbook", "purposes", "profiling", {"use": "data"}))


@pytest.fixture
def consent(playbook):
    return lambda **changes: check(incoming(**changes), playbook, NOW)


def test_a_good_consent_is_kept_in_microseconds(consent):
    kept = consent()
    assert kept.record_time == kept.statement.stated_time == 1_500_000_000_000_000
    assert kept.statement.expire_time == 1_600_000_000_000_000


def test_without_a_record_time_it_is_now_and_none_is_stated(consent):
    kept = consent(record_time=None, expire_time=None)
    assert (kept.record_time, kept.statement.stated_time, kept.statement.expire_time) == (NOW, None, None)


def test_a_clock_that_is_ahead_counts_as_now(consent):
    kept = consent(record_time=Moment(NOW_SECONDS + 200, 0))
    assert (kept.record_time, kept.statement.stated_time) == (NOW, NOW + 200_000_000)


def test_every_violation_is_listed_at_once(consent):
    wrong = consent(
        receipt_id="",
        customer_id="",
        purpose="marketin",
        channel="mial",
        state=None,
        record_time=Moment(NOW_SECONDS + 301, 0),
        expire_time=Moment(-1, 0),
        source="s" * 129,
    )
    assert wrong == Invalid(
        (
            ("customer_id", "must have 1 to 128 characters"),
            ("consent.receipt_id", "must have 1 to 128 characters"),
            ("consent.source", "must have at most 128 characters"),
            ("consent.purpose", 'not in the playbook; did you mean "marketing"?'),
            ("consent.channel", 'not in the playbook; did you mean "mail"?'),
            ("consent.state", "must be GRANTED, DENIED or WITHDRAWN"),
            ("consent.record_time", "must lie at most five minutes ahead"),
            ("consent.expire_time", "must not lie before 1970"),
        )
    )


def test_a_consent_to_the_use_of_data_names_no_channel(profiling):
    kept = check(incoming(purpose="profiling", channel=""), profiling, NOW)
    assert (kept.statement.purpose, kept.statement.channel) == ("profiling", "")


@pytest.mark.parametrize(
    ("purpose", "channel", "expected"),
    [
        ("profiling", "email", {"consent.channel": "must be empty for a purpose of use data"}),
        ("profiling", "emial", {"consent.channel": "must be empty for a purpose of use data"}),
        ("marketing", "", {"consent.channel": "must name a channel for a purpose of use contact"}),
        ("profilign", "", {"consent.purpose": 'not in the playbook; did you mean "profiling"?'}),
    ],
)
def test_a_channel_belongs_to_contact_and_to_nothing_else(profiling, purpose, channel, expected):
    wrong = check(incoming(purpose=purpose, channel=channel), profiling, NOW)
    assert dict(wrong.violations) == expected


def test_receipts_are_recorded_once(consent):
    first, changed, other = consent(), consent(state=State.DENIED), consent(receipt_id="r2")
    answers, fresh = settle(
        [first, changed, other, first, consent(customer_id="nobody")],
        {"r2": other.statement},
        frozenset({"c1"}),
    )
    assert answers == [
        Recorded.NEW,
        Recorded.REUSED,
        Recorded.DUPLICATE,
        Recorded.DUPLICATE,
        Recorded.CUSTOMER_UNKNOWN,
    ]
    assert fresh == [first]


def test_the_time_of_arrival_is_no_content(playbook):
    first = check(incoming(record_time=None), playbook, NOW)
    later = check(incoming(record_time=None), playbook, NOW + 1)
    assert settle([first, later], {}, frozenset({"c1"}))[0] == [Recorded.NEW, Recorded.DUPLICATE]


def test_the_newest_consent_of_each_purpose_and_channel_counts(consent):
    granted = consent(receipt_id="r1", record_time=Moment(20, 0))
    withdrawn_earlier = consent(receipt_id="r2", state=State.WITHDRAWN, record_time=Moment(10, 0))
    assert newest([granted, withdrawn_earlier]) == [granted]


def test_of_equal_times_the_later_call_counts(consent):
    granted = consent(receipt_id="r1")
    withdrawn = consent(receipt_id="r2", state=State.WITHDRAWN)
    assert newest([granted, withdrawn]) == [withdrawn]
    assert newest([withdrawn, granted]) == [granted]


def test_a_withdrawal_outdoes_a_grant_from_a_clock_that_is_ahead(consent):
    granted = consent(receipt_id="r1", record_time=Moment(NOW_SECONDS + 299, 0))
    withdrawn = consent(receipt_id="r2", record_time=None, state=State.WITHDRAWN)
    assert newest([granted, withdrawn]) == [withdrawn]


@pytest.mark.parametrize("stated", [None, Moment(NOW_SECONDS - 3_600 - 299, 0)])
def test_a_refusal_binds_also_after_the_clock_went_back(playbook, stated):
    granted = check(incoming(receipt_id="r1", record_time=None), playbook, NOW)
    hour = 3_600_000_000
    refused = check(
        incoming(receipt_id="r2", record_time=stated, state=State.WITHDRAWN), playbook, NOW - hour
    )
    stale = check(incoming(receipt_id="r3", record_time=None), playbook, NOW - hour + 1)
    again = check(incoming(receipt_id="r4", record_time=None), playbook, NOW)
    assert newest([granted, refused]) == [refused]
    assert newest([granted, refused, stale]) == [refused]
    assert newest([granted, refused, stale, again]) == [again]
