import math

import pytest

from services.engine import moments
from services.engine.moments import LATEST, MOST_AHEAD, Moment
from services.engine.playbook.loader import load, shipped
from services.engine.violations import Invalid
from services.profile.domain.borrowed import Borrowed
from services.profile.domain.identities import Identity
from services.profile.domain.updates import Checked, IncomingUpdate, Taken, Update, check, settle
from tests.playbooks import load_playbook

NOW = 1_510_000_000_000_000
HOUR = 3_600_000_000


LENDING = {
    "age": {"type": "integer"},
    "income": {"type": "number", "provenance": "copied"},
    "address": {"type": "string", "provenance": "copied"},
    "mood": {"type": "string", "provenance": "borrowed", "max_age": "1h"},
    "place": {"type": "enum", "values": ["home", "away"], "provenance": "borrowed", "max_age": "2h"},
    "slogan": {"type": "string", "provenance": "displayed"},
}


@pytest.fixture(scope="module")
def playbook():
    return load(shipped("retail"))


@pytest.fixture(scope="module")
def lending(tmp_path_factory):
    return load_playbook(
        tmp_path_factory.mktemp("playbook") / "shop",
        *(("profile", "attributes", name, declared) for name, declared in LENDING.items()),
    )


def incoming(**changes):
    fields = {
        "customer_id": "c1",
        "attributes": {"age_band": "25-34", "kids_count": None},
        "identities": (Identity("loyalty_card", "4711"),),
        "record_time": Moment(1_500_000_000, 0),
        "source": "import",
    }
    return IncomingUpdate(**{**fields, **changes})


def update(customer_id, *cards):
    return Update(
        customer_id=customer_id,
        attributes={},
        identities=tuple(Identity("loyalty_card", card) for card in cards),
        record_time=NOW,
        source="",
    )


def test_a_good_update_is_kept_as_json(playbook):
    assert check(incoming(), playbook, NOW) == Checked(
        update=Update(
            customer_id="c1",
            attributes={"age_band": '"25-34"', "kids_count": "null"},
            identities=(Identity("loyalty_card", "4711"),),
            record_time=1_500_000_000_000_000,
            source="import",
        ),
        borrowed=(),
    )


def test_without_a_record_time_it_is_now(playbook):
    assert check(incoming(record_time=None), playbook, NOW).update.record_time == NOW


def test_borrowed_values_are_kept_apart_from_what_goes_on_file(lending):
    sent = {"age": 40.0, "mood": "calm", "place": None, "slogan": "Hello"}
    checked = check(incoming(attributes=sent, identities=()), lending, NOW)
    assert checked.update.attributes == {"age": "40", "slogan": '"Hello"'}
    at = 1_500_000_000_000_000
    assert checked.borrowed == (
        Borrowed(name="mood", value="calm", record_time=at, end=at + HOUR, source="import"),
        Borrowed(name="place", value=None, record_time=at, end=at + 2 * HOUR, source="import"),
    )


def test_a_borrowed_value_must_have_its_declared_type_too(lending):
    wrong = check(incoming(attributes={"place": "abroad"}, identities=()), lending, NOW)
    assert wrong.violations == (("attributes.place", "must be one of home, away"),)


@pytest.mark.parametrize("value", [1.5, None])
def test_a_copied_attribute_needs_a_source(lending, value):
    sent = {"age": 40.0, "income": value, "address": None, "slogan": "Hello", "mood": "calm"}
    wrong = check(incoming(attributes=sent, identities=(), source=""), lending, NOW)
    assert wrong.violations == (("source", 'must say where copied attribute "address" comes from'),)
    del sent["address"], sent["income"]
    assert isinstance(check(incoming(attributes=sent, identities=(), source=""), lending, NOW), Checked)


def test_an_update_with_absurdly_many_entries_is_refused_without_looking_at_them(playbook):
    many = incoming(
        attributes=dict.fromkeys(map(str, range(201)), "x"), identities=(Identity("card", "1"),) * 101
    )
    assert check(many, playbook, NOW).violations == (
        ("attributes", "201 entries, at most 200"),
        ("identities", "101 entries, at most 100"),
    )


def test_every_violation_is_listed_at_once(playbook):
    wrong = incoming(
        customer_id="",
        attributes={"age_bnd": None, "age_band": 3.0},
        identities=(Identity("loyalty_card", ""), Identity("loyality_card", "x" * 257)),
        record_time=Moment(0, 1),
        source="s" * 129,
    )
    assert check(wrong, playbook, NOW) == Invalid(
        (
            ("customer_id", "must have 1 to 128 characters"),
            ("source", "must have at most 128 characters"),
            ("record_time", "must be in whole microseconds"),
            ("attributes.age_bnd", 'not in the playbook; did you mean "age_band"?'),
            ("attributes.age_band", "must be a string, not a number"),
            ("identities[0].value", "must have 1 to 256 characters"),
            ("identities[1].kind", 'not in the playbook; did you mean "loyalty_card"?'),
            ("identities[1].value", "must have 1 to 256 characters"),
        )
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300, True, [], {}, "26-34"])
def test_a_value_of_another_type_is_refused(playbook, value):
    (violation,) = check(incoming(attributes={"age_band": value}), playbook, NOW).violations
    assert violation.field == "attributes.age_band"


def test_characters_that_other_stores_cannot_hold_are_refused(playbook):
    wrong = incoming(customer_id="a\0", identities=(Identity("loyalty_card", "\0"),), attributes={})
    assert [v.field for v in check(wrong, playbook, NOW).violations] == ["customer_id", "identities[0].value"]


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        (Moment(-1, 0), "1970"),
        (Moment(NOW // 1_000_000, 300_001_000_000), "nanos"),
        (Moment(NOW // 1_000_000 + 301, 0), "five minutes"),
        (Moment(253_402_300_800, 0), "9999"),
        (Moment(1, 999), "whole microseconds"),
        (Moment(1, -1_000), "nanos"),
    ],
)
def test_absurd_record_times_are_refused(moment, message):
    with pytest.raises(ValueError, match=message):
        moments.past(moment, NOW)


def test_a_record_time_may_lie_five_minutes_ahead():
    ahead = NOW + MOST_AHEAD
    assert moments.past(Moment(ahead // 1_000_000, ahead % 1_000_000 * 1_000), NOW) == ahead


def test_reads_are_as_of_a_time_cut_to_microseconds_or_the_newest():
    assert moments.as_of(Moment(1, 1_999)) == 1_000_001
    for moment in (Moment(-1, 0), Moment(LATEST // 1_000_000, 1_000), Moment(10**17, 0)):
        with pytest.raises(ValueError, match="must not lie"):
            moments.as_of(moment)


def test_the_first_to_claim_an_identity_gets_it():
    on_file = {Identity("loyalty_card", "1"): "c1"}
    answers, claimed = settle(
        [
            update("c2", "2", "1"),
            update("c3", "2", "3"),
            update("c1", "1", "4"),
            update("c4", "5", "3", "1"),
            update("c4", "5"),
            update("c5"),
        ],
        on_file,
    )
    assert answers == [Taken((1,)), None, None, Taken((1, 2)), None, None]
    assert claimed == {
        Identity("loyalty_card", card): owner
        for card, owner in (("2", "c3"), ("3", "c3"), ("4", "c1"), ("5", "c4"))
    }
