"""A plot of accuracy against cost per image: a marker for each spec, its interval, and that of its difference."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING

from bigain_cli.evaluation.accuracy import Accuracy, Difference
from bigain_cli.evaluation.summary import Summary
from bigain_cli.intervals import Interval
from bigain_cli.outputs.plotting import title_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*<>ph"
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
    for x, marker, (spec, accuracy) in zip(
        positions, itertools.cycle(MARKERS), summary.accuracies.items(), strict=False
    ):
        share = accuracy.top1 if isinstance(accuracy, Accuracy) else accuracy.mean_average
        point = [x], [100 * share.value]
        (line, *_) = axes.errorbar(
            *point,
            yerr=_bar_lengths(share),
            fmt=marker,
            fillstyle="none",  # markers may overlap
            capsize=3,
            elinewidth=1,
            label=title_text(spec, 60),
        )
        if (difference := _difference_to_baseline(summary, spec)) is not None:
            lengths, colour = _bar_lengths(difference), line.get_color()
            axes.errorbar(*point, yerr=lengths, fmt="none", ecolor=colour, elinewidth=4, alpha=0.5)
    if len(summary.accuracies) > 1:
        words = f"Thin: 95 % interval of each. Thick: of its difference to {title_text(summary.against, 40)}, paired."
        if positions != costs:
            words += " Markers of nearly equal cost are moved apart."
        axes.annotate(words, (0.01, 0.01), xycoords="axes fraction", fontsize=7, alpha=0.8)
    axes.set_xlabel("GFLOP per image" if counted else "evaluations per image")
    axes.set_ylabel("mean average precision, %" if summary.multilabel else "top-1 accuracy, %")
    about = summary.about
    axes.set_title(title_text(f"{about['model']} on {about['dataset']}, n = {summary.count}", 80), fontsize=10)
    axes.set_xlim(min(*costs, *positions) - margin, max(*costs, *positions) + margin)
    axes.grid(alpha=0.3)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -1), min(high, 101))
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)  # outside, so that it hides nothing
    return figure


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
