import learned
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.period import Period
from training.data.split import boundary_by_fraction, split_by_time
from training.refusal import Refused

days = st.integers(0, 30)
rows = st.lists(st.tuples(days, st.integers(0, 15)), min_size=1, max_size=60)


@given(rows=rows, boundary=days, embargo=st.booleans())
def test_nothing_is_learned_from_later(rows, boundary, embargo):
    exposure = np.array([start for start, _ in rows])
    closed = exposure + np.array([length for _, length in rows])
    try:
        split = split_by_time(exposure, closed, boundary, embargo=embargo)
    except Refused:
        usable = (exposure < boundary) & ~(embargo & (closed > boundary))
        assert not usable.any() or (exposure < boundary).all()
        return
    assert exposure[split.fit].max() < boundary <= exposure[split.calibration].min()
    assert not set(exposure[split.fit]) & set(exposure[split.calibration])
    assert split.fit.sum() + split.embargoed + split.calibration.sum() == len(rows)
    assert split.overlapping == ((exposure < boundary) & (closed > boundary)).sum()
    if embargo:
        assert closed[split.fit].max() <= boundary
        assert split.embargoed == split.overlapping
    else:
        assert split.embargoed == 0


@given(exposure=st.lists(days, min_size=1, max_size=60), fraction=st.floats(0.05, 0.95))
def test_the_newer_part_holds_at_least_the_fraction(exposure, fraction):
    exposure = np.array(exposure)
    boundary = boundary_by_fraction(exposure, fraction)
    newer = exposure >= boundary
    assert newer.sum() >= np.floor(fraction * len(exposure))
    without_the_boundary_itself = (exposure > boundary).sum()
    assert without_the_boundary_itself <= fraction * len(exposure)


def test_a_boundary_that_leaves_one_part_empty_is_refused():
    exposure, closed = np.array([1, 2, 3]), np.array([9, 9, 9])
    with pytest.raises(Refused, match="no row is exposed"):
        split_by_time(exposure, closed, 4, embargo=False)
    with pytest.raises(Refused, match="2 are older, 2 of them with an outcome window still open"):
        split_by_time(exposure, closed, 3, embargo=True)


def test_a_period_includes_its_start_and_excludes_its_end(tmp_path):
    data = learned.dataset(tmp_path, 400, days=10)
    period = Period(from_time="1970-01-03T00:00:00Z", until_time="1970-01-05T00:00:00Z")
    assert set(period.of(data).times("exposure_time")) == {2 * learned.DAY, 3 * learned.DAY}
    assert len(Period().of(data).frame) == 400


def test_a_period_without_rows_is_refused(tmp_path):
    with pytest.raises(Refused, match="no row is exposed in the period"):
        Period(from_time="1999-01-01T00:00:00Z").of(learned.dataset(tmp_path, 20))


def test_a_period_that_runs_backward_is_no_period():
    with pytest.raises(ValueError, match="from_time must be before"):
        Period(from_time="1999-01-02T00:00:00Z", until_time="1999-01-01T00:00:00Z")
