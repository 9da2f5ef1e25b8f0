"""Splitting rows in time, so that nothing is learned from what came later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.refusal import Refused

Times = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSplit:
    """Which rows fit a model and which, newer, calibrate it.

    ``boundary_time`` is the first instant of the calibration slice. ``overlapping`` counts
    older rows whose outcome window was still open then; ``embargoed`` of them were left out.
    """

    fit: Mask
    calibration: Mask
    boundary_time: int
    overlapping: int
    embargoed: int


def boundary_by_fraction(exposure: Times, fraction: float) -> int:
    """Find the exposure time at which about the newest ``fraction`` of rows begins.

    Rows of one exposure time stay together, so the newer part can be larger than asked.
    """
    ordered = np.sort(exposure)
    return int(ordered[min(int(len(ordered) * (1 - fraction)), len(ordered) - 1)])


def split_by_time(exposure: Times, closed: Times, boundary_time: int, *, embargo: bool) -> TimeSplit:
    """Split rows at ``boundary_time``; rows exposed at that very time are newer.

    A row whose outcome window closes after the boundary has a label that nobody knew then.
    With ``embargo`` such rows fit nothing; without it they are used, and counted.

    Raises:
        Refused: one of the two parts is empty.
    """
    newer = exposure >= boundary_time
    overlapping = ~newer & (closed > boundary_time)
    fit = ~newer & ~overlapping if embargo else ~newer
    if not newer.any():
        raise Refused("no row is exposed at or after the calibration boundary")
    if not fit.any():
        raise Refused(
            f"no row is left to fit before the calibration boundary: {int((~newer).sum())} are older, "
            f"{int(overlapping.sum())} of them with an outcome window still open then"
        )
    return TimeSplit(
        fit=fit,
        calibration=newer,
        boundary_time=boundary_time,
        overlapping=int(overlapping.sum()),
        embargoed=int(overlapping.sum()) if embargo else 0,
    )
