from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.features.history import History, Series, StoredEvent


def event(event_id, time, kind="order", **attributes):
    return StoredEvent(event_id=event_id, type=kind, event_time=time, attributes=attributes)


def ids(series):
    return [one.event_id for one in series.events]


def test_events_are_kept_by_type_in_time_order_then_id():
    history = History([event("c", 5), event("a", 7), event("b", 5), event("x", 6, kind="click")])
    assert ids(history.of("order")) == ["b", "c", "a"]
    assert ids(history.of("click")) == ["x"]
    assert ids(history.of("nothing")) == []


@pytest.mark.parametrize(
    ("as_of", "window", "found"),
    [
        (20, None, ["a", "b", "c"]),
        (13, None, ["a", "b"]),
        (12, None, ["a", "b"]),
        (11, None, ["a"]),
        (10, None, []),
        (13, 3, ["a", "b"]),
        (13, 2, ["b"]),
        (14, 3, ["b", "c"]),
        (14, 2, ["c"]),
        (15, 2, ["c"]),
        (16, 2, []),
        (5, 100, []),
    ],
)
def test_a_window_holds_its_start_and_not_its_end(as_of, window, found):
    series = Series([event("a", 10), event("b", 11), event("c", 13)])
    length = None if window is None else timedelta(microseconds=window)
    start, end = series.bounds(as_of, length)
    assert ids(series)[start:end] == found


@settings(max_examples=200)
@given(st.lists(st.integers(-5, 20), max_size=12), st.integers(-10, 30), st.none() | st.integers(0, 12))
def test_a_window_agrees_with_the_definition(times, as_of, window):
    series = Series([event(str(number), time) for number, time in enumerate(sorted(times))])
    start, end = series.bounds(as_of, None if window is None else timedelta(microseconds=window))
    assert [one.event_time for one in series.events[start:end]] == [
        time for time in sorted(times) if time < as_of and (window is None or time >= as_of - window)
    ]


def test_views_hold_what_fits_in_order_and_are_made_once():
    series = Series([event("a", 1, x=1), event("b", 2, x=1, y="k"), event("c", 3, y="k"), event("d", 4)])
    assert ids(series.where({"x": 1})) == ["a", "b"]
    assert ids(series.where({"x": 1, "y": "k"})) == ["b"]
    assert series.where({}) is series
    assert ids(series.having("x")) == ["a", "b"]
    assert {word: ids(part) for word, part in series.divided("y").items()} == {"k": ["b", "c"]}
    assert series.where({"x": 1}) is series.where({"x": 1})
    assert series.having("x") is series.having("x")
    assert series.divided("y") is series.divided("y")


def test_totals_are_exact_and_keep_their_units_apart():
    series = Series([event(str(number), number, x=0.1) for number in range(10)] + [event("z", 10)])
    assert series.total("x", 100, 0, 11) == 100
    assert series.total("x", 10, 0, 11) == 10
    assert series.total("x", 1, 0, 11) == 0
    assert series.total("x", 100, 3, 4) == 10
    assert series.total("x", 100, 10, 11) == 0
    assert series.total("other", 100, 0, 11) == 0


def test_an_empty_history_is_shared_without_harm():
    History(()).of("order").total("x", 100, 0, 0)
    History(()).of("order").where({"x": 1}).having("y")
    assert History(()).of("click").total("x", 1, 0, 0) == 0
    assert ids(History(()).of("click").where({"x": 1})) == []
