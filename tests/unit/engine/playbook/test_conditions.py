"""What conditions come to, as they are taken apart, is never at odds with what CEL makes of them."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.engine.playbook import conditions
from tests.unit.engine.playbook.grammar import ENVIRONMENT, READ, TYPES, UNREAD, WORLDS, conditions_of

EVERY = [*TYPES, *(f"known.{name}" for name in TYPES)]
DOMAINS = {"time.hour": (*range(24), None)}
FIXED = [
    {"action.season": "spring", "action.places": 3, "treatment.channel": "email"},
    {"action.season": "b", "treatment.channel": "push"},
    {},
]


def verdict(text, values):
    return ENVIRONMENT.compile(text).evaluate(ENVIRONMENT.activation(values, EVERY))


def ways(text, wanted, fixed):
    condition = conditions.read(text, TYPES)
    found = (conditions.resolved(way, fixed) for way in (condition.true if wanted else condition.false))
    return [way for way in found if way is not None]


def can_be(text, wanted=True, fixed=None):
    return any(conditions.example(way, TYPES, DOMAINS) is not None for way in ways(text, wanted, fixed or {}))


@pytest.mark.parametrize(
    ("text", "can_be_true", "can_be_false"),
    [
        ("true", True, False),
        ("false", False, True),
        ("!false", True, False),
        ("true && !(false)", True, False),
        ("profile.age > 10", True, True),
        ("profile.age > 10 && profile.age < 5", False, True),
        ("profile.age > 10 && profile.age < 12", True, True),
        ("profile.age > 10 && profile.age < 11", False, True),
        ("feature.spend > 10.0 && feature.spend < 11.0", True, True),
        ("feature.spend > 10.0 && feature.spend <= 10.0", False, True),
        ("10.0 < feature.spend && 10.0 > feature.spend", False, True),
        ("feature.spend >= 10.0 && feature.spend <= 10.0", True, True),
        ("profile.city == 'a' && profile.city == \"b\"", False, True),
        ("profile.city == 'a' && profile.city != 'b'", True, True),
        ("profile.city in ['a', 'b'] && profile.city != 'a' && profile.city != 'b'", False, True),
        ("profile.city in ['a', 'b'] && profile.city in ['c', 'a']", True, True),
        ("profile.age in [1, 2] && profile.age > 2", False, True),
        ("profile.member && !profile.member", False, True),
        ("profile.member == true && profile.member != true", False, True),
        ("profile.member || !profile.member", True, False),
        ("known.profile.age && !known.profile.age", False, True),
        ("!known.profile.age && profile.age > 3", False, True),
        ("known.profile.age || profile.age > 3", True, False),
        ("known.profile.until && !known.profile.until", False, True),
        ("known.profile.age ? profile.age > 3 : false", True, True),
        ("profile.member ? profile.age > 3 : profile.age > 5", True, True),
        ("(profile.member ? profile.age > 3 : profile.age > 5) && profile.age < 4", False, True),
        ("time.hour > 23", False, True),
        ("time.hour >= 0", True, False),
        ("time.hour < 8 && time.hour > 20", False, True),
        ("profile.age < -9223372036854775808", False, True),
        ("profile.age <= 9223372036854775807", True, False),
        ("profile.age + 1 > 3 && profile.age + 1 < 3", True, True),
        ("profile.age > 10 && profile.age < 5 && size(profile.city) > 2", False, True),
        ("profile.age > 10 && profile.age < 5 || size(profile.city) > 2", True, True),
        ("profile.city == 'a && b' && profile.city == 'a || b'", False, True),
        ("profile.city == ') || (true' && profile.city == '?:'", False, True),
        ("profile.age > 10 // && profile.age < 5", True, True),
        ("profile.age > 10 && // so it is\n profile.age < 5", False, True),
        ("!(profile.age > 10 || profile.age <= 10)", False, True),
        ("!!(profile.age > 10) && !(profile.age > 9)", False, True),
        ("!profile.member == true && profile.member", True, True),
        ("(profile.age > 10) && ((profile.age < 5))", False, True),
        ("action.season == 'spring'", False, False),
    ],
)
def test_what_can_be_true_and_false(text, can_be_true, can_be_false):
    assert (can_be(text, True), can_be(text, False)) == (can_be_true, can_be_false)


@pytest.mark.parametrize(
    ("text", "fixed", "can_be_true", "can_be_false"),
    [
        ("action.season == 'spring'", {"action.season": "spring"}, True, False),
        ("action.season == 'spring'", {"action.season": "autumn"}, False, True),
        ("!known.action.season", {"action.season": "autumn"}, False, True),
        ("!known.action.season", {}, True, False),
        (
            "profile.city == action.season && profile.city != 'spring'",
            {"action.season": "spring"},
            False,
            True,
        ),
        (
            "action.season == profile.city && profile.city == 'spring'",
            {"action.season": "spring"},
            True,
            True,
        ),
        ("action.places < profile.age && profile.age < 5", {"action.places": 4}, False, True),
        ("action.places < profile.age && profile.age < 5", {"action.places": 3}, True, True),
        ("profile.city == action.season", {}, False, False),
        ("treatment.channel == action.season", {"action.season": "a", "treatment.channel": "a"}, True, False),
    ],
)
def test_what_is_the_same_for_all_customers_is_put_in(text, fixed, can_be_true, can_be_false):
    assert (can_be(text, True, fixed), can_be(text, False, fixed)) == (can_be_true, can_be_false)


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ("profile.age > 3 && known.profile.until", ()),
        ("profile.age == action.places || true", ()),
        ("profile.age + 1 > 3", ("profile.age + 1 > 3",)),
        ("feature.spend > feature.orders", ("feature.spend > feature.orders",)),
        ("profile.city < 'b'", ("profile.city < 'b'",)),
        ("profile.city == r'b'", ("profile.city == r'b'",)),
        ("profile.city == 'it\\'s'", ("profile.city == 'it\\'s'",)),
        ("(profile).age > 3", ("(profile).age > 3",)),
        (
            "profile.until > timestamp('2026-01-01T00:00:00Z')",
            ("profile.until > timestamp('2026-01-01T00:00:00Z')",),
        ),
        (
            "profile.member && (size(profile.city) > 2\n  || profile.age > 3) && profile.age % 2 == 1",
            ("size(profile.city) > 2", "profile.age % 2 == 1"),
        ),
    ],
)
def test_what_is_not_looked_into_is_named(text, unread):
    ENVIRONMENT.compile(text)
    assert conditions.read(text, TYPES).unread == unread


def test_what_has_too_many_ways_is_not_looked_into():
    text = " && ".join(f"(profile.age == {number} || profile.city == '{number}')" for number in range(8))
    condition = conditions.read(text, TYPES)
    assert condition.unread == (text,)
    assert can_be(text)


@settings(max_examples=300)
@given(conditions_of(READ | UNREAD), st.sampled_from(FIXED), st.lists(WORLDS, min_size=5, max_size=20))
@example("!profile.member == profile.member", {}, [{"profile.member": True}, {"profile.member": False}])
def test_what_happens_was_never_called_impossible(text, fixed, worlds):
    for world in worlds:
        found = verdict(text, {**world, **fixed})
        if isinstance(found, bool):
            assert can_be(text, found, fixed), (text, fixed, world)


@settings(max_examples=300)
@given(conditions_of(READ), st.sampled_from(FIXED), st.booleans())
def test_what_is_called_possible_happens_where_all_of_it_was_read(text, fixed, wanted):
    condition = conditions.read(text, TYPES)
    if condition.unread:
        return
    for way in ways(text, wanted, fixed):
        world = conditions.example(way, TYPES, DOMAINS)
        if world is not None:
            known = {name: value for name, value in world.items() if value is not None}
            assert verdict(text, {**known, **fixed}) is wanted


@settings(max_examples=150)
@given(conditions_of(READ), conditions_of(READ), st.sampled_from(FIXED))
def test_two_conditions_exclude_each_other_as_their_conjunction_says(one, other, fixed):
    together = f"({one}) && ({other})"
    both = [a | b for a, b in itertools.product(ways(one, True, fixed), ways(other, True, fixed))]
    assert any(conditions.example(way, TYPES, DOMAINS) is not None for way in both) == can_be(
        together, True, fixed
    )
