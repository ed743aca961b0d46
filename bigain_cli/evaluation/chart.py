"""A plot of accuracy against cost per image: a named marker for each spec, its interval, and its difference's."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from pathlib import PurePath
from statistics import mean
from typing import TYPE_CHECKING, Any

from bigain_cli.evaluation.accuracy import Accuracy, Difference
from bigain_cli.evaluation.summary import Summary
from bigain_cli.intervals import Interval
from bigain_cli.outputs.plotting import title_text
from bigain_cli.outputs.point_labels import label_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*<>ph"
COLOURS = ("#1d5fae", "#b2500a", "#1e7d45", "#a81e24", "#6b4fa0", "#6d4c41", "#a0307f", "#0c7480", "#5c6168", "#6f6a00")
NOTE_WIDTH = 100  # letters
STEP = 0.014  # between markers, as a share of the axis


def chart_of(summary: Summary) -> Figure:
    """Plot all specs against GFLOP, or against evaluations if no operations were counted."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6 + 0.1 * len(summary.accuracies)), layout="constrained")
    axes = figure.subplots()
    counted = any(accuracy.gflop for accuracy in summary.accuracies.values())
    costs = [accuracy.gflop if counted else accuracy.evaluations for accuracy in summary.accuracies.values()]
    margin = max(0.1 * (max(costs) - min(costs)), 0.03 * max(costs)) or 1
    positions = side_by_side(costs, STEP * (max(costs) - min(costs) + 2 * margin))
    shares = [each.top1 if isinstance(each, Accuracy) else each.mean_average for each in summary.accuracies.values()]
    colours = _plot_points(axes, summary, positions, shares)
    axes.set_xlabel("GFLOP per image" if counted else "evaluations per image")
    axes.set_ylabel("mean average precision, %" if summary.multilabel else "top-1 accuracy, %")
    axes.set_title(chart_title(summary), fontsize=11, parse_math=False)
    figure.supxlabel(_note(summary, positions != costs), fontsize=8, color="#5c6168", parse_math=False)
    axes.set_xlim(min(*costs, *positions) - margin, max(*costs, *positions) + margin)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -1), min(high, 101))
    points = list(zip(positions, (100 * share.value for share in shares), strict=True))
    bars = [(x, 100 * share.low, 100 * share.high) for x, share in zip(positions, shares, strict=True)]
    label_points(axes, points, bars, [title_text(spec, 60) for spec in summary.accuracies], colours)
    return figure


def _plot_points(axes: Any, summary: Summary, positions: Sequence[float], shares: Sequence[Interval]) -> list[str]:
    """Plot the markers with their intervals, and a line at the baseline's; return the colours."""
    colours = [colour for _, colour in zip(positions, itertools.cycle(COLOURS), strict=False)]
    points = zip(summary.accuracies, positions, shares, itertools.cycle(MARKERS), colours, strict=False)
    for spec, x, share, marker, colour in points:
        point = [x], [100 * share.value]
        look = {"fmt": marker, "fillstyle": "none", "capsize": 3, "elinewidth": 1, "color": colour}
        axes.errorbar(*point, yerr=_bar_lengths(share), **look)  # not filled, as markers may overlap
        if (difference := _difference_to_baseline(summary, spec)) is not None:
            axes.errorbar(*point, yerr=_bar_lengths(difference), fmt="none", ecolor=colour, elinewidth=4, alpha=0.5)
        elif len(shares) > 1:
            axes.axhline(100 * share.value, color=colour, linewidth=0.8, linestyle=(0, (4, 4)), alpha=0.6)
    return colours


def chart_title(summary: Summary) -> str:
    """Return a figure's title."""
    about = summary.about
    dataset = PurePath(about["dataset"]).name or about["dataset"]
    return title_text(f"{about['model']} on {dataset}, n = {summary.count}", 80)


def _note(summary: Summary, moved: bool) -> str:
    """Return what the bars are."""
    note = "Thin: 95 % interval of each."
    if len(summary.accuracies) > 1:
        note += f" Thick: of its difference to {title_text(summary.against, 40)} (dashed line), paired."
    note += " Markers of nearly equal cost are moved apart." if moved else ""
    return textwrap.fill(note, NOTE_WIDTH)


def side_by_side(costs: Sequence[float], step: float) -> list[float]:
    """Return positions at least a step apart, as near to the costs as possible and in their order."""
    order = sorted(range(len(costs)), key=costs.__getitem__)

    def left(group: list[int]) -> float:
        """Return the position of a group's first marker, minus a step for each marker before it."""
        return mean(costs[order[rank]] - rank * step for rank in group)

    groups: list[list[int]] = []
    for rank in range(len(order)):
        groups.append([rank])
        while len(groups) > 1 and left(groups[-2]) > left(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    positions = list(costs)
    for group in groups:
        for rank in group if len(group) > 1 else ():  # a single marker stays exactly at its cost
            positions[order[rank]] = left(group) + rank * step
    return positions


def _difference_to_baseline(summary: Summary, spec: str) -> Interval | None:
    """Return the difference to the baseline; None for the baseline itself."""
    found = summary.to_baseline(spec)
    if found is None:
        return None
    return found.interval if isinstance(found, Difference) else found.mean_average


def _bar_lengths(share: Interval) -> list[list[float]]:
    """Return how far an interval reaches down and up, in points."""
    return [[100 * (share.value - share.low)], [100 * (share.high - share.value)]]
