"""Accuracy against cost per image, a mark for each spec with its interval and that of its difference."""

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

MARKS = "osD^vPX*<>ph"
STEP = 0.014  # between marks, as a share of the axis


def chart_of(summary: Summary) -> Figure:
    """Plot all specs; without operations to count, against evaluations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6 + 0.1 * len(summary.accuracies)), layout="constrained")
    axes = figure.subplots()
    counted = any(outcome.gflop for outcome in summary.accuracies.values())
    costs = [outcome.gflop if counted else outcome.evaluations for outcome in summary.accuracies.values()]
    beside = max(0.1 * (max(costs) - min(costs)), 0.03 * max(costs)) or 1
    places = side_by_side(costs, STEP * (max(costs) - min(costs) + 2 * beside))
    for x, mark, (spec, outcome) in zip(places, itertools.cycle(MARKS), summary.accuracies.items(), strict=False):
        share = outcome.top1 if isinstance(outcome, Accuracy) else outcome.mean_average
        place = [x], [100 * share.value]
        (line, *_) = axes.errorbar(
            *place,
            yerr=_reach(share),
            fmt=mark,
            fillstyle="none",  # marks may lie on each other
            capsize=3,
            elinewidth=1,
            label=title_text(spec, 60),
        )
        if (gap := _gap(summary, spec)) is not None:
            axes.errorbar(*place, yerr=_reach(gap), fmt="none", ecolor=line.get_color(), elinewidth=4, alpha=0.5)
    if len(summary.accuracies) > 1:
        words = f"Thin: 95 % interval of each. Thick: of its difference to {title_text(summary.against, 40)}, paired."
        if places != costs:
            words += " Marks of nearly one cost are moved apart."
        axes.annotate(words, (0.01, 0.01), xycoords="axes fraction", fontsize=7, alpha=0.8)
    axes.set_xlabel("GFLOP per image" if counted else "evaluations per image")
    axes.set_ylabel("mean average precision, %" if summary.many else "top-1 accuracy, %")
    about = summary.about
    axes.set_title(title_text(f"{about['model']} on {about['dataset']}, n = {summary.count}", 80), fontsize=10)
    axes.set_xlim(min(*costs, *places) - beside, max(*costs, *places) + beside)
    axes.grid(alpha=0.3)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -1), min(high, 101))
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)  # where it hides no bar
    return figure


def side_by_side(costs: Sequence[float], step: float) -> list[float]:
    """Move what is closer than a step as little apart as possible, the cheaper and then the earlier to the left."""
    order = sorted(range(len(costs)), key=costs.__getitem__)

    def left(group: list[int]) -> float:
        """Return where a group's first mark would be if it were the first of all."""
        return mean(costs[order[rank]] - rank * step for rank in group)

    groups: list[list[int]] = []
    for rank in range(len(order)):
        groups.append([rank])
        while len(groups) > 1 and left(groups[-2]) > left(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    places = list(costs)
    for group in groups:
        for rank in group if len(group) > 1 else ():  # one alone stays exactly where it is
            places[order[rank]] = left(group) + rank * step
    return places


def _gap(summary: Summary, spec: str) -> Interval | None:
    """Return the difference to the baseline; the baseline has none."""
    found = summary.to(spec)
    if found is None:
        return None
    return found.interval if isinstance(found, Difference) else found.mean_average


def _reach(found: Interval) -> list[list[float]]:
    """Return how far an interval goes down and up, in points."""
    return [[100 * (found.value - found.low)], [100 * (found.high - found.value)]]
