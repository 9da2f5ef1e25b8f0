"""Where the time of a decision goes, from the histograms of the services and from the answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.metrics import mean_us, total
from bench.rounds import Cell

STAGES = ("candidates", "resolve", "policy", "consent", "score", "arbitrate", "place", "log")
_HANDLING = "grpc_server_handling_seconds"
_RPCS = {
    "profile": ("tact.profile.v1.ProfileService", "BatchGetProfiles"),
    "features": ("tact.features.v1.FeatureService", "BatchGetFeatures"),
    "scoring": ("tact.scoring.v1.ScoringService", "BatchScore"),
}


def breakdown(cells: Sequence[Cell]) -> dict[str, Any]:
    """Explain the mean latency of the same load on Tact over all rounds, in microseconds.

    ``parts`` add up to ``client``: the way from and to the generator, what the gateway does before
    and after the decision itself, the stages, and what lies between them. ``services`` are the means
    of the calls inside ``resolve`` and ``score``, seen by those who answer. ``medians`` come from a
    sample of the answers, which do not know how long it took to log them.
    """
    grown = total(cell.grown for cell in cells)
    client = float(np.mean(np.concatenate([cell.latencies for cell in cells]))) * 1e6
    handling = mean_us(grown, _HANDLING, grpc_method="Decide")
    decision = mean_us(grown, "tact_decision_seconds")
    stages = {stage: mean_us(grown, "tact_decision_stage_seconds", stage=stage) for stage in STAGES}
    services = {
        name: mean_us(grown, _HANDLING, grpc_service=service, grpc_method=rpc)
        for name, (service, rpc) in _RPCS.items()
    }
    return {
        "client": client,
        "parts": {
            "wire and gRPC": client - handling,
            "around the decision": handling - decision,
            **stages,
            "between stages": decision - sum(stages.values()),
        },
        "services": {**services, "model": mean_us(grown, "tact_scoring_predict_seconds")},
        "medians": _medians(cells),
    }


def _medians(cells: Sequence[Cell]) -> dict[str, float]:
    durations: dict[str, list[int]] = defaultdict(list)
    for cell in cells:
        for answer in cell.answers:
            for timing in answer.timings:
                durations[timing.stage].append(timing.duration.ToMicroseconds())
    return {stage: float(np.median(found)) for stage, found in durations.items()}
