"""The memory of last good features is bounded in size and in age."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain.knowledge import Features
from services.gateway.domain.last_good import LastGood

NOW = datetime(2025, 5, 14, 9, 30, tzinfo=UTC)
LONGEST = timedelta(hours=24)


def features(as_of, sequence=1):
    return Features(as_of=as_of, sequence=sequence, customer={}, ages={}, candidates={})


def test_newer_features_take_the_place_of_older_ones_only():
    memory = LastGood(10, LONGEST)
    memory.keep("anna", features(NOW, sequence=2), NOW)
    memory.keep("anna", features(NOW - timedelta(hours=1), sequence=1), NOW)
    assert memory.get("anna", NOW).sequence == 2
    memory.keep("anna", features(NOW, sequence=3), NOW)
    assert memory.get("anna", NOW).sequence == 3


def test_what_was_read_longest_ago_goes_first():
    memory = LastGood(2, LONGEST)
    for name in ("anna", "ben", "anna", "cleo"):
        memory.keep(name, features(NOW), NOW)
    assert [name for name in ("anna", "ben", "cleo") if memory.get(name, NOW)] == ["anna", "cleo"]


def test_a_memory_of_nobody_holds_nothing():
    memory = LastGood(0, LONGEST)
    memory.keep("anna", features(NOW), NOW)
    assert memory.get("anna", NOW) is None


@given(
    kept=st.lists(st.tuples(st.integers(-72, 72), st.integers(-72, 72)), max_size=8),
    asked=st.integers(-72, 72),
)
def test_nothing_of_the_future_and_nothing_too_old(kept, asked):
    memory = LastGood(10, LONGEST)
    for of, now in kept:
        memory.keep("anna", features(NOW + timedelta(hours=of)), NOW + timedelta(hours=now))
    at = NOW + timedelta(hours=asked)
    found = memory.get("anna", at)
    standing = None
    for of, now in kept:
        is_newer = standing is None or not of < standing <= now
        standing = of if of <= now and is_newer else standing
    if standing is None or not asked - 24 <= standing <= asked:
        assert found is None
    else:
        assert found.as_of == NOW + timedelta(hours=standing)


def test_what_was_kept_before_the_clock_went_back_gives_way():
    memory = LastGood(10, LONGEST)
    memory.keep("anna", features(NOW, sequence=1), NOW)
    earlier = NOW - timedelta(hours=6)
    memory.keep("anna", features(earlier, sequence=2), earlier)
    assert memory.get("anna", earlier).sequence == 2
