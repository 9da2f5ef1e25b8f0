"""Stages are real: they sum to no more than the total, whatever the clock does."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain.timing import DEFAULT_SECONDS, Stopwatch, share

steps = st.integers(min_value=0, max_value=10_000_000)


@given(st.lists(st.tuples(steps, steps), max_size=12), steps)
def test_stages_sum_to_no_more_than_the_total(stages, start):
    clock = [start]
    watch = Stopwatch(lambda: clock[0])
    for number, (before, inside) in enumerate(stages):
        clock[0] += before
        with watch.stage(str(number)):
            clock[0] += inside
    assert sum(watch.stages.values(), timedelta()) <= watch.total
    assert list(watch.stages) == [str(number) for number in range(len(stages))]


def test_the_blocks_of_a_stage_add_up():
    clock = [0]
    watch = Stopwatch(lambda: clock[0])
    for name in ("policy", "consent", "policy"):
        with watch.stage(name):
            clock[0] += 7_000
    assert watch.stages == {"policy": timedelta(microseconds=14), "consent": timedelta(microseconds=7)}


def test_a_stage_that_fails_is_timed():
    clock = [0]
    watch = Stopwatch(lambda: clock[0])
    try:
        with watch.stage("resolve"):
            clock[0] += 5_999
            raise ValueError
    except ValueError:
        pass
    assert watch.stages == {"resolve": timedelta(microseconds=5)}


@given(st.floats(-1e6, 1e6), st.floats(0, 1))
def test_a_share_is_never_more_than_what_is_left(remaining, part):
    assert 0 <= share(remaining, part) <= max(remaining, 0)


def test_without_a_deadline_each_stage_has_its_share_of_the_default():
    assert share(None, 0.5) == DEFAULT_SECONDS / 2
