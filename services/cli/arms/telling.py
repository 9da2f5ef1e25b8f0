"""The report on control arms as people read it: tables, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from services.cli.arms.notes import arm_name, is_rough, notes, percent
from services.cli.arms.report import Report
from services.cli.wording import wrapped
from services.engine.instants import instant
from training.evaluation.arms import NO_ARM, Arm
from training.evaluation.intervals import Estimate

WIDTH: Final = 110
KINDS: Final = ("DELIVERED", "VIEWED", "ACCEPTED", "REJECTED", "OVERRIDDEN")
_LAYERS: Final = {
    "hold_out": "Offering anything at all",
    "random_eligible": "Choosing, not drawing lots",
    "propensity_only": "Looking at more than the chance of success",
    "no_levers": "Levers",
    "eligibility_only": "Applicability and suitability rules",
}


def as_text(report: Report) -> str:
    """Write the report; the same report gives the same text."""
    sections = [
        _head(report),
        _table(_customers(report.arms)),
        _table(_reported(report)),
        _table(_successes(report.arms)),
        _table(_values(report)),
        _table(_measures(report.arms)),
        _listing("What each layer is worth, by what its arm lacks:", sentences(report)),
        _listing("Know:", notes(report)),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def sentences(report: Report) -> Iterator[str]:
    """Yield what each layer is worth: no arm, which has it, minus the arm that lacks it."""
    digits = _digits(report.arms)
    for arm in report.arms:
        if arm.name == NO_ARM:
            continue
        layer = _LAYERS.get(arm.name, f"What {arm.name} lacks")
        if arm.value_difference is None or arm.success_difference is None:
            yield f"{layer}: nobody to tell by yet."
            continue
        worth, points = _reversed(arm.value_difference), _reversed(arm.success_difference)
        yield (
            f"{layer}: {_signed(worth, digits, f' {report.currency} a customer', '95 % ')}: "
            f"{_verdict(arm, worth)}. "
            f"Customers with a success: {_signed(points, 1, ' points', '95 % ', 100)}."
        )


def _verdict(arm: Arm, worth: Estimate) -> str:
    if arm.split.is_broken:
        return "not to be trusted, as the split is broken"
    if arm.is_thin or worth.low is None or worth.high is None:
        return "too few successes to tell yet"
    if worth.low > 0:
        return "it brings more than it costs"
    return "it costs more than it brings" if worth.high < 0 else "cannot be told from zero yet"


def _head(report: Report) -> str:
    found, kind = report.aftermath, "live decisions" if report.question.live else "dry runs"
    left_out = (
        (found.nobody, "about nobody known"),
        (found.open, "whose outcome may still come"),
        (report.earlier, "before --since"),
        (report.damaged, "damaged on record"),
    )
    lines = (
        f"Control arms of {report.playbook}, by {kind} since {instant(report.since):%Y-%m-%d %H:%M:%S} UTC, "
        f"as known at {instant(report.until):%Y-%m-%d %H:%M:%S} UTC.",
        f"Counted: {_counted(len(found.decisions), 'decision')} about "
        f"{_counted(len(found.customers), 'customer')}. "
        f"Left out: {', '.join(f'{count:,} {what}' for count, what in left_out if count) or 'none'}.",
    )
    return "\n".join(wrapped(line, WIDTH) for line in lines)


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def _customers(arms: Iterable[Arm]) -> Iterator[Sequence[str]]:
    yield ("", "customers", "expected", "observed", "decisions", "answered")
    for arm in arms:
        shares = (percent(arm.split.expected), percent(arm.split.observed))
        yield (arm_name(arm.name), f"{arm.customers:,}", *shares, f"{arm.decisions:,}", f"{arm.answered:,}")


def _reported(report: Report) -> Iterator[Sequence[str]]:
    if report.question.live:
        yield ("treatments reported as", *(kind.lower() for kind in KINDS))
        for arm in report.arms:
            yield (arm_name(arm.name), *(f"{arm.reported.get(kind, 0):,}" for kind in KINDS))


def _successes(arms: Iterable[Arm]) -> Iterator[Sequence[str]]:
    yield ("", "with a success", "% of customers (95 %)", "against no arm, points (95 %)")
    for arm in arms:
        difference = _signed(arm.success_difference, 1, scale=100)
        yield (arm_name(arm.name), f"{arm.succeeded:,}", _plain(arm.success, 1, 100), difference)


def _values(report: Report) -> Iterator[Sequence[str]]:
    digits = _digits(report.arms)
    yield ("", f"{report.currency} a customer (95 %)", f"against no arm, {report.currency} (95 %)")
    for arm in report.arms:
        difference = _signed(arm.value_difference, digits)
        yield (arm_name(arm.name) + " *" * is_rough(arm), _signed(arm.value, digits), difference)


def _measures(arms: Sequence[Arm]) -> Iterator[Sequence[str]]:
    names = sorted({name for arm in arms for name in arm.measures})
    if names:
        yield ("", *(f"{name}, mean of customers (95 %)" for name in names))
        for arm in arms:
            found = (arm.measures.get(name) for name in names)
            yield (
                arm_name(arm.name),
                *("-" if one is None else f"{_plain(one.mean, 2)} of {one.customers:,}" for one in found),
            )


def _table(rows: Iterable[Sequence[str]]) -> str:
    """Align the first column to the left, the others to the right."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells
    )
    return "\n".join(lines)


def _listing(title: str, lines: Iterable[str]) -> str:
    found = [wrapped(f"  {line}", WIDTH) for line in lines]
    return "\n".join([title, *found]) if found else ""


def _plain(estimate: Estimate | None, digits: int, scale: float = 1) -> str:
    return _written(estimate, f".{digits}f", "", "", scale)


def _signed(estimate: Estimate | None, digits: int, unit: str = "", level: str = "", scale: float = 1) -> str:
    return _written(estimate, f"+.{digits}f", unit, level, scale)


def _written(estimate: Estimate | None, form: str, unit: str, level: str, scale: float) -> str:
    if estimate is None:
        return "-"
    value, low, high = (
        None if one is None else format(one * scale, form)
        for one in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value}{unit}" if low is None else f"{value}{unit} ({level}{low} to {high})"


def _digits(arms: Iterable[Arm]) -> int:
    """Return how many decimals show two digits of the narrowest interval of value: 2 to 6."""
    estimates = (one for arm in arms for one in (arm.value, arm.value_difference) if one)
    widths = [one.high - one.low for one in estimates if one.low is not None and one.high is not None]
    least = min((width for width in widths if width > 0), default=1.0)
    return min(6, max(2, 1 - math.floor(math.log10(least))))


def _reversed(difference: Estimate) -> Estimate:
    low, high = difference.low, difference.high
    return Estimate(
        value=-difference.value, low=None if high is None else -high, high=None if low is None else -low
    )
