"""The report on promises as people read it, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from services.cli.promises.report import Report, Tally, Unmeasured
from services.cli.wording import wrapped
from services.engine.instants import instant
from services.engine.lengths import exact, rounded

WIDTH: Final = 110


def as_text(report: Report) -> str:
    """Write the report; the same report gives the same text."""
    question, head = report.question, report.playbook.head
    since = "" if question.since is None else f" since {instant(question.since):%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        f"Promises of {head.name}{since}, as known at {instant(question.until):%Y-%m-%d %H:%M:%S} UTC.",
        *(line for one in report.promises for line in _paragraph(one)),
        *(line for note in _notes(report) for line in ("", note)),
    ]
    return "\n".join(wrapped(line, WIDTH) if line else "" for line in lines) + "\n"


def _paragraph(one: Tally | Unmeasured) -> Iterator[str]:
    promise = one.promise
    yield ""
    yield f"{promise.name}, within {exact(promise.within)}: {promise.text}"
    if isinstance(one, Unmeasured):
        yield f"  not measured: {_why_not(one)}"
        return
    yield (
        f"  {one.opened:,} opened: {one.kept:,} kept, {one.broken:,} broken ({one.late:,} closed late, "
        f"{one.overdue:,} overdue), {one.pending:,} open and in time"
    )
    if (rate := one.hit_rate) is not None:
        yield f"  hit rate {rate.value:.1%} (95 % interval {rate.low:.1%} to {rate.high:.1%})"
    if (half := one.closed_within(0.5)) is not None and (most := one.closed_within(0.9)) is not None:
        yield f"  time to close: median {rounded(half)}, 90th percentile {rounded(most)}"
    if one.keyless:
        yield f"  not counted: {one.keyless:,} events without a key, as nothing could close them"


def _why_not(one: Unmeasured) -> str:
    purposes = ", ".join(one.consents)
    return f"its events need consent to {purposes}, and the event store does not know who gave it"


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON can hold it; null stands for what cannot be told."""
    question = report.question
    return {
        "playbook": report.playbook.head.name,
        "playbook_version": report.playbook.version,
        "since_time": None if question.since is None else instant(question.since).isoformat(),
        "until_time": instant(question.until).isoformat(),
        "promises": [_figures(one) for one in report.promises],
        "notes": list(_notes(report)),
    }


def _notes(report: Report) -> Iterator[str]:
    if not report.is_linked:
        yield "There is no store of profiles, so customers that were linked count apart."


def _figures(one: Tally | Unmeasured) -> dict[str, Any]:
    promise = one.promise
    found: dict[str, Any] = {
        "name": promise.name,
        "text": promise.text,
        "feature": promise.feature,
        "within_seconds": promise.within.total_seconds(),
    }
    if isinstance(one, Unmeasured):
        return found | {"not_measured": _why_not(one)}
    half, most = one.closed_within(0.5), one.closed_within(0.9)
    return found | {
        "opened": one.opened,
        "kept": one.kept,
        "broken": one.broken,
        "closed_late": one.late,
        "open": one.open,
        "overdue": one.overdue,
        "without_key": one.keyless,
        "hit_rate": None if one.hit_rate is None else asdict(one.hit_rate),
        "median_seconds": None if half is None else half.total_seconds(),
        "percentile_90_seconds": None if most is None else most.total_seconds(),
    }
