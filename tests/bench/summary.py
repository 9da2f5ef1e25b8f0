"""Cells become medians with their spread over the rounds, and ratios between targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.breakdown import breakdown
from bench.rounds import Cell
from bench.targets import DECIDING, ECHO, FLOOR, FOUR, TACT

Spread = dict[str, float]

PAIRS = ((TACT, ECHO), (TACT, FLOOR), (FOUR, ECHO), (FOUR, FLOOR))
_FIGURES: Mapping[str, Callable[[Cell], float]] = {
    "throughput": lambda cell: cell.throughput,
    "p50_ms": lambda cell: cell.latency_ms(0.5),
    "p99_ms": lambda cell: cell.latency_ms(0.99),
    "cpu_us": lambda cell: cell.cpu_us,
}


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the extremes, to four significant digits."""
    return {
        "median": _short(float(np.median(values))),
        "least": _short(min(values)),
        "most": _short(max(values)),
    }


def by_load(cells: Sequence[Cell], target: str) -> dict[str, list[Cell]]:
    """Return a target's cells by load, in the order of the rounds."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.target == target:
            found.setdefault(cell.load, []).append(cell)
    return found


def figures(cells: Sequence[Cell], target: str) -> dict[str, Any]:
    """Summarise every load of a target.

    ``cpu_us`` is what one request costs on a core, user and system mode, over all processes and by
    process; ``cores`` how many the processes kept busy.
    """
    return {
        load: {name: spread([figure(cell) for cell in rounds]) for name, figure in _FIGURES.items()}
        | {
            "requests": sum(cell.sent for cell in rounds),
            "cores": spread([sum(cell.cpu_seconds.values()) / cell.elapsed for cell in rounds]),
            "cpu_us_by_process": {
                name: _short(
                    sum(cell.cpu_seconds[name] for cell in rounds) / sum(cell.sent for cell in rounds) * 1e6
                )
                for name in rounds[0].cpu_seconds
            },
        }
        for load, rounds in by_load(cells, target).items()
    }


def ratios(cells: Sequence[Cell]) -> dict[str, Any]:
    """Divide each figure of Tact by the baseline's of the same round, then summarise."""
    return {
        f"{one} / {other}": {
            load: {
                name: spread(
                    [figure(a) / figure(b) for a, b in zip(rounds, by_load(cells, other)[load], strict=True)]
                )
                for name, figure in _FIGURES.items()
            }
            for load, rounds in by_load(cells, one).items()
        }
        for one, other in PAIRS
    }


def breakdowns(cells: Sequence[Cell]) -> dict[str, Any]:
    """Tell where the time goes in both ways to run Tact, at every load."""
    return {
        target: {load: _rounded(breakdown(rounds)) for load, rounds in by_load(cells, target).items()}
        for target in DECIDING
    }


def generator_figures(cells: Sequence[Cell]) -> dict[str, Any]:
    """Tell how busy the load generator was, by target and load.

    ``cores`` of 1 would make it the bottleneck. ``lag_p99_ms`` is how late it sent.
    """
    return {
        target: {
            load: {
                "cores": spread([cell.generator_cpu_seconds / cell.elapsed for cell in rounds]),
                "cpu_us": spread([cell.generator_cpu_seconds / cell.sent * 1e6 for cell in rounds]),
                "lag_p99_ms": spread([cell.lag_p99 * 1e3 for cell in rounds]),
            }
            for load, rounds in by_load(cells, target).items()
        }
        for target in dict.fromkeys(cell.target for cell in cells)
    }


def disturbance(cells: Sequence[Cell]) -> dict[str, Spread]:
    """Tell how many cores others kept busy, targets that wait included, or a host above withheld."""
    return {
        "others": spread([max(0.0, cell.others_cpu_seconds / cell.elapsed) for cell in cells]),
        "withheld": spread([cell.withheld_cpu_seconds / cell.elapsed for cell in cells]),
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _rounded(tree: Any) -> Any:
    return {key: _rounded(value) for key, value in tree.items()} if isinstance(tree, dict) else _short(tree)
