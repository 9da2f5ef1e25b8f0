"""A comparison as a picture, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.cli.diff.comparison import Comparison
from services.cli.diff.figures import Figures
from services.cli.diff.report import Segments

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MISSING: Final = "matplotlib is not installed, so there is no picture: pip install 'tact-nba[training]'"
_MOST: Final = 15
_LONGEST: Final = 26
_ABOVE, _BELOW = 6.0, 3.2
_OLD, _NEW, _LOST, _GAINED = "#8c8c8c", "#1f6fb2", "#c4483c", "#3a8f4d"


def can_draw() -> bool:
    """Tell whether pictures can be drawn here; asking loads nothing."""
    return find_spec("matplotlib") is not None


def draw(path: Path, comparison: Comparison, whole: Figures, segments: Segments) -> None:
    """Write a PNG, over what is there: actions gained and lost, the largest flows, and the segments.

    The same comparison gives the same picture.
    """
    from matplotlib.figure import Figure

    parts = list(segments.items()) or [("all", [("all decisions", whole)])]
    heights = [_ABOVE, *(_BELOW for _ in parts)]
    figure = Figure(figsize=(13.0, sum(heights)), layout="constrained")
    top, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    actions, flows = top.subplots(1, 2, width_ratios=[3, 2])
    _actions(actions, whole)
    _flows(flows, whole)
    for part, (name, figures) in zip(below, parts, strict=True):
        empty, choices = part.subplots(1, 2)
        labels = [label for label, _ in figures]
        shares = [[100 * one.no_action[side] for _, one in figures] for side in (0, 1)]
        means = [[one.choices[side] for _, one in figures] for side in (0, 1)]
        _pairs(empty, labels, shares, f"Decisions without an action, %, by {name}")
        _pairs(choices, labels, means, f"Choices left, mean, by {name}")
    old, new = (edition.playbook.version[:12] for edition in (comparison.old, comparison.new))
    figure.suptitle(
        f"{comparison.new.playbook.head.name}: from {old} to {new}, {whole.decisions:,} decisions about "
        f"{whole.customers:,} customers; another first action in {whole.changed:,}"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def _actions(axes: Axes, whole: Figures) -> None:
    shown = [(name, moves) for name, moves in whole.first.items() if moves.total][:_MOST][::-1]
    places = range(len(shown))
    axes.barh(places, [moves.gained for _, moves in shown], color=_GAINED, label="gained")
    axes.barh(places, [-moves.lost for _, moves in shown], color=_LOST, label="lost")
    for place, (_, moves) in enumerate(shown):
        text = f" {moves.new - moves.old:+,}"
        axes.annotate(text, (moves.gained, place), va="center", fontsize="small")
    axes.axvline(0, color="black", linewidth=0.8)
    _name(axes, [_short(name) for name, _ in shown])
    axes.set(title="First actions gained and lost", xlabel="decisions; beside the bars the difference")
    if shown:
        axes.legend(loc="lower right")


def _flows(axes: Axes, whole: Figures) -> None:
    shown = whole.flows[:_MOST][::-1]
    bars = axes.barh(range(len(shown)), [count for _, count in shown], color=_NEW)
    axes.bar_label(bars, padding=2, fontsize="small")
    _name(axes, [f"{_short(old)} → {_short(new)}" for (old, new), _ in shown])
    axes.set(title="From which first action to which", xlabel="decisions")


def _name(axes: Axes, names: Sequence[str]) -> None:
    """Name the bars from below; say so where there are none."""
    axes.set_yticks(range(len(names)), list(names))
    axes.margins(x=0.12)
    if not names:
        axes.text(0.5, 0.5, "none", ha="center", va="center", transform=axes.transAxes)


def _pairs(axes: Axes, labels: Sequence[str], figures: Sequence[Sequence[float]], title: str) -> None:
    places = range(len(labels))
    for which, numbers, color, shift in zip(("OLD", "NEW"), figures, (_OLD, _NEW), (-0.2, 0.2), strict=True):
        bars = axes.bar([place + shift for place in places], numbers, width=0.4, color=color, label=which)
        axes.bar_label(bars, fmt="%.3g", padding=1, fontsize="x-small")
    names = [_short(label) for label in labels]
    axes.set_xticks(list(places), names, rotation=20, ha="right", fontsize="small")
    axes.set_title(title, fontsize="medium")
    # Room for the legend above the bars.
    axes.margins(y=0.3)
    axes.legend(fontsize="small", ncols=2, loc="upper right")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
