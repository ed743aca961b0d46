"""Accuracy against what a picture takes, a mark for each spec with its interval and that of its difference."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from bigain_cli.evaluation.measures import Outcome
from bigain_cli.evaluation.summary import Summary
from bigain_cli.outputs.plotting import shown
from bigain_cli.quality.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKS = "osD^vPX*<>ph"


def chart_of(summary: Summary) -> Figure:
    """Draw all specs; without operations to count, against evaluations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    counted = any(outcome.gflop for outcome in summary.outcomes.values())
    costs = [outcome.gflop if counted else outcome.evaluations for outcome in summary.outcomes.values()]
    for cost, mark, (spec, outcome) in zip(costs, itertools.cycle(MARKS), summary.outcomes.items(), strict=False):
        share = outcome.top1 if isinstance(outcome, Outcome) else outcome.mean_average
        place = [cost], [100 * share.value]
        (line, *_) = axes.errorbar(
            *place,
            yerr=_reach(share),
            fmt=mark,
            fillstyle="none",  # marks may lie on each other
            capsize=3,
            elinewidth=1,
            label=shown(spec, 60),
        )
        if (gap := _gap(summary, spec)) is not None:
            axes.errorbar(*place, yerr=_reach(gap), fmt="none", ecolor=line.get_color(), elinewidth=4, alpha=0.5)
    if len(summary.outcomes) > 1:
        words = f"Thin: 95 % interval of each. Thick: of its difference to {shown(summary.against, 40)}, paired."
        axes.annotate(words, (0.01, 0.01), xycoords="axes fraction", fontsize=7, alpha=0.8)
    axes.set_xlabel("GFLOP a picture" if counted else "evaluations a picture")
    axes.set_ylabel("mean average precision, %" if summary.many else "top-1 accuracy, %")
    about = summary.about
    axes.set_title(shown(f"{about['model']} on {about['dataset']}, n = {summary.count}", 80), fontsize=10)
    beside = max(0.1 * (max(costs) - min(costs)), 0.03 * max(costs))
    axes.set_xlim(min(costs) - beside, max(costs) + beside)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _gap(summary: Summary, spec: str) -> Interval | None:
    """Return the difference to the baseline; the baseline has none."""
    if summary.many:
        gaps = summary.precisions().get(spec)
        return gaps["mean_average"] if gaps is not None else None
    difference = summary.to(spec)
    return difference.interval if difference is not None else None


def _reach(found: Interval) -> list[list[float]]:
    """Return how far an interval goes down and up, in points."""
    return [[100 * (found.value - found.low)], [100 * (found.high - found.value)]]
