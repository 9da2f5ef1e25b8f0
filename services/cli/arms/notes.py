"""What to know before trusting a report on control arms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from services.cli.arms.report import Report
from training.evaluation.arms import BROKEN_BELOW, Arm

_MOST_NAMES: Final = 5


def arm_name(name: str) -> str:
    """Name an arm for people."""
    return name or "no arm"


def is_rough(arm: Arm) -> bool:
    """Tell whether intervals of value are there but must not be relied on."""
    return arm.is_thin and arm.value_difference is not None


def notes(report: Report) -> Iterator[str]:
    """Yield one sentence for each thing, the worst first."""
    question, found = report.question, report.aftermath
    yield from (_broken(arm) for arm in report.arms if arm.split.is_broken)
    if len(report.arms) == 1:
        yield "The playbook declares no control arms, so there is nothing to compare."
    if report.changed:
        yield f"The shares of {_listed(report.changed)} were changed meanwhile: their split is not tested."
    if found.moved:
        yield f"{found.moved:,} customers were in more than one arm: each counts in the first."
    if not report.is_linked:
        yield (
            "There is no store of profiles, so who was linked after a decision still counts apart: say "
            "--profiles FILE."
        )
    if report.lacking:
        yield (
            f"{report.lacking:,} decisions were made by versions of the playbook that are not at hand: what "
            f"counts as their outcomes is taken from version {report.version[:12]}."
        )
    if found.by_report:
        yield (
            f"Successes of {_listed(found.by_report)} are known by reports alone, and what was not offered "
            "has none: differences show what came after answers, not what would have been lost without."
        )
        if question.within is None:
            yield "The newest decisions may get more reports; --within 7d waits a week for each."
    if found.by_event:
        yield (
            f"{sum(found.by_event.values()):,} acceptances reported of {_listed(found.by_event)} are no "
            "successes: the outcome that their groups declare is an event, and it counts in their place."
        )
    if not question.live:
        yield "Dry runs reach nobody: nothing is reported, nothing costs, and only chance tells arms apart."
    if not question.every:
        yield "Mandatory and transactional actions ignore arms, so they are not looked at; --all does."
    if any(is_rough(arm) for arm in report.arms):
        yield "*: too few successes; the intervals of value are rough, and narrower than they should be."


def _broken(arm: Arm) -> str:
    return (
        f"The split is broken: {percent(arm.split.observed)} of customers are in {arm_name(arm.name)} "
        f"instead of {percent(arm.split.expected)}. Chance does so less than once in "
        f"{1 / BROKEN_BELOW:,.0f} times, so something else moved customers: trust no difference."
    )


def percent(share: float | None) -> str:
    """Write a share that may not be known."""
    return "-" if share is None else f"{share:.2%}"


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(map(arm_name, names))
    shown = ", ".join(ordered[:_MOST_NAMES])
    return f"{shown} and {len(ordered) - _MOST_NAMES} more" if len(ordered) > _MOST_NAMES else shown
