"""A run as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report import is_closed

_COLOURS = {"tact": "#1f5fa8", "echo": "#9a9a9a", "floor": "#d98e32", "tact-four": "#7fb1e0"}


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw throughput, latencies and where the time goes."""
    loads = list(next(iter(result["targets"].values())))
    closed = [load for load in loads if is_closed(load)]
    opened = [load for load in loads if load not in closed]
    figure = Figure(figsize=(11, 7.5), layout="tight")
    (rates, latencies), (steady, parts) = figure.subplots(2, 2)
    _bars(rates, result["targets"], closed, "throughput")
    rates.set_title("answers a second, closed loop")
    _bars(latencies, result["targets"], closed, "p50_ms", "p99_ms")
    latencies.set_title("p50 (bar) and p99 (mark) in ms, closed loop")
    _bars(steady, result["targets"], opened, "p50_ms", "p99_ms")
    steady.set_title("p50 (bar) and p99 (mark) in ms, open loop")
    for axes in (rates, latencies, steady):
        axes.set_yscale("log")
    _stack(parts, {name: by_load[closed[0]] for name, by_load in result["breakdown"].items()})
    parts.set_title(f"where the time goes, {closed[0]}, mean us")
    latencies.legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=80, metadata={"Software": None})


def _bars(
    axes: Axes, targets: Mapping[str, Any], loads: list[str], figure: str, mark: str | None = None
) -> None:
    width = 0.8 / len(targets)
    for place, (name, figures) in enumerate(targets.items()):
        at = [group + (place - (len(targets) - 1) / 2) * width for group in range(len(loads))]
        found = [figures[load][figure] for load in loads]
        medians = [one["median"] for one in found]
        reach = [
            [one["median"] - one["least"] for one in found],
            [one["most"] - one["median"] for one in found],
        ]
        axes.bar(at, medians, width, yerr=reach, color=_COLOURS[name], label=name, error_kw={"lw": 0.8})
        if mark is not None:
            axes.plot(at, [figures[load][mark]["median"] for load in loads], "k_", markersize=9)
    axes.set_xticks(range(len(loads)), loads)


def _stack(axes: Axes, breakdowns: Mapping[str, Any]) -> None:
    names = list(breakdowns)
    below = [0.0] * len(names)
    for place, part in enumerate(next(iter(breakdowns.values()))["parts"]):
        sizes = [breakdowns[name]["parts"][part] for name in names]
        axes.barh(names, sizes, left=below, label=part, color=colormaps["tab20"](place))
        below = [start + size for start, size in zip(below, sizes, strict=True)]
    axes.invert_yaxis()
    axes.legend(fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.1))
