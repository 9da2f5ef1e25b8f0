from hypothesis import given
from hypothesis import strategies as st

from services.profile.domain.attributes import Attribute
from services.profile.domain.borrowed import Borrowed, BorrowedValues

NAMES = ("mood", "place")


def borrowed(name="mood", value="calm", *, at=10, end=100):
    return Borrowed(name=name, value=value, record_time=at, end=end, source="partner")


def seen(values, *, before=None, now=50, customer_id="c1"):
    found = values.read(customer_id, NAMES, before, now)
    return {name: attribute.value for name, attribute in found.items()}


def test_a_value_comes_back_with_its_time_and_source():
    values = BorrowedValues(10)
    values.hold("c1", [borrowed()], now=10)
    assert values.read("c1", NAMES, None, 10) == {"mood": Attribute("calm", 10, "partner")}
    assert seen(values, customer_id="c2") == {}
    assert values.read("c1", ("place",), None, 10) == {}


def test_a_value_is_held_until_its_end_and_then_forgotten():
    values = BorrowedValues(10)
    values.hold("c1", [borrowed()], now=10)
    assert (seen(values, now=99), len(values)) == ({"mood": "calm"}, 1)
    assert (seen(values, now=100), len(values)) == ({}, 0)


def test_a_value_whose_end_has_passed_is_not_even_taken():
    values = BorrowedValues(10)
    assert values.hold("c1", [borrowed(end=60)], now=60) == 0
    assert len(values) == 0


def test_null_makes_a_value_missing_from_then_on():
    values = BorrowedValues(10)
    values.hold("c1", [borrowed(at=10), borrowed(at=20, value=None)], now=20)
    assert [seen(values, before=before) for before in (10, 11, 20, 21, None)] == [
        {},
        {"mood": "calm"},
        {"mood": "calm"},
        {},
        {},
    ]


def test_what_is_held_of_customers_is_forgotten_and_the_rest_stays():
    values = BorrowedValues(10)
    for customer_id in ("c1", "c2", "c3"):
        values.hold(customer_id, [borrowed(at=10), borrowed(at=20), borrowed("place", at=30)], now=30)
    values.forget(["c1", "c3", "c1", "nobody"])
    assert [seen(values, customer_id=f"c{number}") for number in (1, 2, 3)] == [
        {},
        {"mood": "calm", "place": "calm"},
        {},
    ]
    assert len(values) == 3
    values.hold("c1", [borrowed(at=40)], now=40)
    assert (seen(values), len(values)) == ({"mood": "calm"}, 4)


def test_those_that_came_first_make_room():
    values = BorrowedValues(2)
    assert values.hold("c1", [borrowed(at=30), borrowed("place", at=20)], now=30) == 0
    assert values.hold("c2", [borrowed(at=10)], now=30) == 1
    assert (seen(values), seen(values, customer_id="c2")) == ({"place": "calm"}, {"mood": "calm"})


def test_what_a_null_hides_does_not_show_again_when_the_null_makes_room():
    values = BorrowedValues(2)
    values.hold("c1", [borrowed(at=20, value=None), borrowed(at=10)], now=20)
    assert values.hold("c2", [borrowed()], now=20) == 2
    assert seen(values) == {}


def test_a_value_does_not_tell_itself():
    assert "calm" not in repr(borrowed())


def test_no_call_forgets_many_values_and_none_of_them_is_seen():
    values = BorrowedValues(1_000)
    values.hold("c1", [borrowed(at=at, end=100) for at in range(250)], now=50)
    held = []
    for _ in range(3):
        assert seen(values, now=100) == {}
        held.append(len(values))
    assert held == [150, 50, 0]


def test_a_value_that_came_late_is_not_seen_after_its_end():
    values = BorrowedValues(10)
    values.hold("c1", [borrowed(at=50, end=150)], now=50)
    values.hold("c2", [borrowed(at=10, end=110)], now=50)
    assert [seen(values, now=now, customer_id="c2") for now in (109, 110)] == [{"mood": "calm"}, {}]
    assert (seen(values, now=150), len(values)) == ({}, 0)


def test_what_ended_makes_room_without_being_counted():
    values = BorrowedValues(2)
    values.hold("c1", [borrowed(at=50, end=150)], now=50)
    values.hold("c2", [borrowed(at=10, end=110)], now=50)
    new = [borrowed("place", at=120, end=320), borrowed(at=120, end=220)]
    assert values.hold("c3", new, now=120) == 1


def test_a_value_that_was_sent_again_came_last():
    values = BorrowedValues(2)
    for customer_id in ("c1", "c2", "c1", "c3"):
        values.hold(customer_id, [borrowed()], now=10)
    assert [seen(values, customer_id=customer_id) for customer_id in ("c1", "c2", "c3")] == [
        {"mood": "calm"},
        {},
        {"mood": "calm"},
    ]


MAX_AGES = {"mood": 5, "place": 9}
writes = st.builds(
    lambda name, value, at: borrowed(name, value, at=at, end=at + MAX_AGES[name]),
    st.sampled_from(NAMES),
    st.sampled_from(["calm", "cross", None]),
    st.integers(0, 12),
)
customers = st.sampled_from(["c1", "c2"])
steps = st.lists(
    st.tuples(st.integers(0, 2), customers, st.lists(writes, max_size=3), st.none() | st.integers(0, 30)),
    max_size=25,
)


def slow_read(held, reader, before, now):
    newest = {}
    for (owner, name, time), value in sorted(held.items()):
        if owner == reader and now < value.end and (before is None or time < before):
            newest[name] = Attribute(value.value, time, value.source)
    return {name: found for name, found in newest.items() if found.value is not None}


@given(steps=steps)
def test_values_are_those_of_a_slow_search(steps):
    values, held, now = BorrowedValues(1_000), {}, 0
    for passed, customer_id, new, before in steps:
        now += passed
        assert values.hold(customer_id, new, now) == 0
        held |= {(customer_id, value.name, value.record_time): value for value in new}
        for reader in ("c1", "c2"):
            assert values.read(reader, NAMES, before, now) == slow_read(held, reader, before, now)


@given(most=st.integers(1, 4), steps=steps)
def test_values_are_bounded_and_the_last_to_come_stay(most, steps):
    values, now = BorrowedValues(most), 0
    for passed, customer_id, new, _ in steps:
        now += passed
        values.hold(customer_id, new, now)
        assert len(values) <= most
        values.hold("c3", [borrowed(at=now, end=now + 9)], now)
        assert seen(values, now=now, customer_id="c3") == {"mood": "calm"}
