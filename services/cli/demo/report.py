"""What the answers say, and how they compare with what anyone could have known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from tact.decision.v1 import decision_service_pb2 as pb

from services.cli.demo.decide import Decided
from services.cli.failure import Failure
from training.data.completejourney import CompleteJourney
from training.evaluation.report import Baseline, compare

RESAMPLES = 1_000
SEED = 18


def household(decided: Decided, console: Console) -> None:
    """Show the ranked actions of the household with the most to choose from."""
    answer = max(
        decided.answers, key=lambda a: (len(a.actions), a.actions[0].propensity if a.actions else 0.0)
    )
    day = answer.decision_time.ToDatetime().date()
    table = Table(title=f"Household {answer.customer_id} on {day}: {len(answer.actions)} actions worth doing")
    for column in ("rank", "action", "channel", "propensity", "priority", "why"):
        table.add_column(column)
    for action in answer.actions:
        table.add_row(
            str(action.rank),
            action.action_id,
            action.channel,
            f"{action.propensity:.3f}",
            f"{action.priority:.2f} {action.value.currency}",
            "\n".join(reason.text for reason in action.reasons),
        )
    console.print(table)
    timings = ", ".join(f"{t.stage} {t.duration.ToMicroseconds() / 1000:.2f}" for t in answer.timings)
    console.print(f"Stages in ms: {timings}; total {answer.total_duration.ToMicroseconds() / 1000:.2f}")


def comparison(data: CompleteJourney, decided: Decided, console: Console) -> dict[str, Any]:
    """Compare the scores in the answers with three baselines, and return the summary."""
    rows = baselines(data, decided.mailings)
    rows["score"] = [
        _score(answer, action) for answer, action in zip(decided.answers, rows["action_id"], strict=True)
    ]
    if missing := int(rows["score"].isna().sum()):
        raise Failure(f"{missing} of {len(rows)} answers hold no score of the mailed campaign")
    names = {
        "type_rate": "rate of the campaign's type",
        "own_rate": "household's own past redemption rate",
        "coupon_use": "household's past coupon use",
    }
    report = compare(
        rows["label"].to_numpy(dtype=np.int8),
        rows["household_id"],
        rows["score"].to_numpy(dtype=np.float64),
        {name: Baseline(scores=rows[name].to_numpy(dtype=np.float64)) for name in names},
        resamples=RESAMPLES,
        seed=SEED,
    )
    table = Table(
        title=f"{report.rows} mailings of campaigns 18, 19: {report.positives} redeemed, unseen in training"
    )
    for column in ("score", "AUC", "95 %", "model minus it, paired 95 %", "lift at 10 %"):
        table.add_column(column)
    auc, lift = report.metrics["auc"], report.metrics["lift_at_10"]
    table.add_row("model", f"{auc.value:.4f}", f"{auc.low:.3f} to {auc.high:.3f}", "", f"{lift.value:.2f}")
    for name, title in names.items():
        own, less = report.baselines[name].metrics, report.baselines[name].model_minus_baseline["auc"]
        table.add_row(
            title,
            f"{own['auc'].value:.4f}",
            f"{own['auc'].low:.3f} to {own['auc'].high:.3f}",
            f"{less.value:+.4f}, {less.low:+.3f} to {less.high:+.3f}",
            f"{own['lift_at_10'].value:.2f}",
        )
    console.print(table)
    p50, p99 = np.quantile(decided.milliseconds, [0.5, 0.99])
    console.print(
        f"{len(decided.answers) / decided.seconds:.0f} decisions a second, client and services on one "
        f"machine; p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    )
    levels = {pb.ServedBy.Name(answer.served_by) for answer in decided.answers}
    if levels != {"SERVED_BY_MODEL"}:
        raise Failure(f"some answers were degraded: {', '.join(sorted(levels))}")
    return {
        "decisions": len(decided.answers),
        "scored": int(rows["score"].notna().sum()),
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "model_version": decided.answers[0].model_version,
        "playbook_version": decided.answers[0].playbook_version,
        "auc": round(auc.value, 6),
        "auc_baseline": round(max(b.metrics["auc"].value for b in report.baselines.values()), 6),
        "lift_at_10": round(lift.value, 4),
    }


def baselines(data: CompleteJourney, mailings: pd.DataFrame) -> pd.DataFrame:
    """Return the mailings with their label and what was known of each at its start, by plain counting.

    ``type_rate``: redeemed share of the mailings of the type whose campaigns had ended. ``own_rate``:
    redeemed share of the household's earlier mailings, 0 without any. ``coupon_use``: lines of the
    household's earlier purchases on which a coupon was used.
    """
    redeemed = data.redemptions.groupby(["household_id", "action_id"])["time"].min().rename("redeemed")
    every = data.mailings.merge(redeemed.reset_index(), on=["household_id", "action_id"], how="left")
    every["label"] = ((every["redeemed"] >= every["start"]) & (every["redeemed"] < every["end"])).astype(int)
    lines = data.table("transactions")
    lines = lines[lines["coupon_disc"] > 0].sort_values("transaction_timestamp")
    used = lines.groupby("household_id")["transaction_timestamp"].apply(np.asarray).to_dict()
    rows = mailings.merge(every[["household_id", "action_id", "label"]], on=["household_id", "action_id"])
    facts = []
    for row in rows.to_dict("records"):
        start = row["start"]
        ended = every[(every["campaign_type"] == row["campaign_type"]) & (every["end"] <= start)]
        own = every[(every["household_id"] == row["household_id"]) & (every["start"] < start)]
        coupons = used.get(row["household_id"])
        facts.append(
            {
                "type_rate": ended["label"].mean() if len(ended) else 0.0,
                "own_rate": (own["redeemed"] < start).mean() if len(own) else 0.0,
                "coupon_use": 0 if coupons is None else int(np.searchsorted(coupons, np.datetime64(start))),
            }
        )
    return rows.assign(**pd.DataFrame(facts))


def _score(answer: pb.DecideResponse, action_id: str) -> float:
    for candidate in answer.explanation.candidates:
        if candidate.action_id == action_id and candidate.HasField("propensity"):
            return candidate.propensity
    return float("nan")
