"""Accuracy against what a picture takes, a mark with its interval for each spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bigain_cli.evaluation.measures import Outcome
from bigain_cli.evaluation.summary import Summary
from bigain_cli.outputs.plotting import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKS = "osD^vPX*<>ph"


def chart_of(summary: Summary) -> Figure:
    """Draw all specs; without operations to count, against evaluations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    counted = any(outcome.gflop for outcome in summary.outcomes.values())
    for number, (spec, outcome) in enumerate(summary.outcomes.items()):
        share = outcome.top1 if isinstance(outcome, Outcome) else outcome.mean_average
        reach = [[100 * (share.value - share.low)], [100 * (share.high - share.value)]]
        axes.errorbar(
            [outcome.gflop if counted else outcome.evaluations],
            [100 * share.value],
            yerr=reach,
            fmt=MARKS[number % len(MARKS)],
            capsize=3,
            label=shown(spec, 60),
        )
    axes.set_xlabel("GFLOP a picture" if counted else "evaluations a picture")
    axes.set_ylabel("mean average precision, %" if summary.many else "top-1 accuracy, %")
    about = summary.about
    axes.set_title(shown(f"{about['model']} on {about['dataset']}, n = {summary.count}", 80), fontsize=10)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
