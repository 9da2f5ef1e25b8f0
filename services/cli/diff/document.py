"""A comparison as JSON: every figure, unrounded."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from services.cli.diff.comparison import Comparison, Tally
from services.cli.diff.figures import Both, Figures
from services.cli.diff.report import Segments
from services.gateway.domain.making import Edition


def document(comparison: Comparison, whole: Figures, segments: Segments) -> dict[str, Any]:
    """Return the comparison as values of JSON."""
    times = [row.time for row in comparison.rows]
    asked = [row.agrees for row in comparison.rows if row.agrees is not None]
    return {
        "old": _edition(comparison.old),
        "new": _edition(comparison.new),
        "live": sum(row.live for row in comparison.rows),
        "first_time": min(times).isoformat(),
        "last_time": max(times).isoformat(),
        "is_ledger_simulated": comparison.is_simulated,
        "compared_with_log": len(asked),
        "equal_to_log": sum(asked),
        "damaged": sorted(comparison.damaged),
        "refused": sorted(comparison.refused),
        "foreign_versions": dict(sorted(comparison.foreign.items())),
        "scores": {"old": _sources(comparison.by_old), "new": _sources(comparison.by_new)},
        "lacking": {"old": _lacks(comparison.by_old), "new": _lacks(comparison.by_new)},
        **_figures(whole),
        "segments": {
            name: [{"segment": label, **_figures(part)} for label, part in parts]
            for name, parts in segments.items()
        },
    }


def _edition(edition: Edition) -> dict[str, str]:
    return {"name": edition.playbook.head.name, "version": edition.playbook.version}


def _sources(tally: Tally) -> dict[str, int]:
    return {source.name.lower(): count for source, count in sorted(tally.sources.items())}


def _lacks(tally: Tally) -> list[dict[str, Any]]:
    return [
        {"name": name, "reason": reason, "decisions": count}
        for (name, reason), count in sorted(tally.lacks.items())
    ]


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "decisions": figures.decisions,
        "customers": figures.customers,
        "no_action_ratio": _both(figures.no_action),
        "choices_left": _both(figures.choices),
        "expected_value": {**_both(figures.worth), "new_by_old_values": figures.worth_as_before},
        "first_changed": figures.changed,
        "first_shifted": figures.shifted,
        "unchanged": figures.unchanged,
        "first_action": {name: asdict(moves) for name, moves in figures.first.items()},
        "any_rank": {name: asdict(moves) for name, moves in figures.ranked.items()},
        "flows": [{"from": old, "to": new, "decisions": count} for (old, new), count in figures.flows],
        "losses": [
            {"stage": stage, "rule": rule, "text": text, "decisions": count}
            for (stage, rule, text), count in figures.losses
        ],
    }


def _both(both: Both) -> dict[str, float]:
    return {"old": both.old, "new": both.new, "change": both.change}
