"""The report on control arms as plain values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from services.cli.arms.notes import notes
from services.cli.arms.report import Report
from services.cli.arms.telling import KINDS, sentences
from services.engine.instants import instant
from training.evaluation.arms import Arm


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON can hold it; null stands for what cannot be told."""
    found = report.aftermath
    return {
        "playbook": report.playbook,
        "playbook_version": report.version,
        "currency": report.currency,
        "mode": "live" if report.question.live else "dry_run",
        "since_time": instant(report.since).isoformat(),
        "until_time": instant(report.until).isoformat(),
        "decisions": len(found.decisions),
        "customers": len(found.customers),
        "left_out": {
            "nobody_known": found.nobody,
            "still_open": found.open,
            "before_since": report.earlier,
            "damaged": report.damaged,
        },
        "arms": [_arm(arm) for arm in report.arms],
        "sentences": list(sentences(report)),
        "notes": list(notes(report)),
    }


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        **asdict(arm),
        "reported": {kind.lower(): arm.reported.get(kind, 0) for kind in KINDS},
        "split": {**asdict(arm.split), "is_broken": arm.split.is_broken},
    }
