"""A plot of how many answers are right, by how many are given: only the most certain ones, down to all of them.

A line for each spec, its marks at the usual least probabilities; the baseline's 95 % interval is shaded.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bigain_cli.evaluation.accuracy import Accuracy, correct
from bigain_cli.evaluation.calibration import Flags, Probabilities, confidences
from bigain_cli.evaluation.chart import COLOURS, MARKERS, chart_title
from bigain_cli.evaluation.summary import Summary
from bigain_cli.intervals import Interval, wilson
from bigain_cli.outputs.plotting import title_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST = 10  # answers that a line begins with: of fewer, each moves it by more than ten points


def risk_coverage_chart(summary: Summary) -> Figure:
    """Plot all specs of a summary of images with one right label."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8 + 0.1 * len(summary.accuracies)), layout="constrained")
    axes = figure.subplots()
    for (spec, found), marker, colour in zip(
        summary.accuracies.items(), itertools.cycle(MARKERS), itertools.cycle(COLOURS), strict=False
    ):
        assert isinstance(found, Accuracy)
        records = summary.records[spec]
        shares, accuracies = risk_coverage_curve(correct(records), confidences(records))
        axes.plot(shares, [each.value for each in accuracies], color=colour, label=title_text(spec, 60), linewidth=1.4)
        if spec == summary.against:
            low, high = [each.low for each in accuracies], [each.high for each in accuracies]
            axes.fill_between(shares, low, high, color=colour, alpha=0.15, linewidth=0)
        _add_marks(axes, found, marker, colour, named=spec == summary.against)
    axes.set(xlim=(0, 1.02), xlabel="answers given, % of images", ylabel="of these right, %")
    axes.set_ylim(max(-0.02, axes.get_ylim()[0]), 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: f"{100 * share:.0f}")
    axes.set_title(chart_title(summary), fontsize=11, parse_math=False)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    note = f"Marks: answers with at least this probability. Shaded: 95 % interval of {title_text(summary.against)}."
    figure.supxlabel(note, fontsize=8, color="#5c6168", parse_math=False)
    axes.legend(fontsize=8, frameon=False)
    return figure


def risk_coverage_curve(right: Flags, confidence: Probabilities) -> tuple[NDArray[np.float64], list[Interval]]:
    """Return for each least probability the share of images answered, and the accuracy on these; few answers first."""
    order = np.argsort(-confidence, kind="stable")
    hits = np.cumsum(right[order])
    last = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))  # equal ones are given together
    enough = last[last + 1 >= min(FEWEST, len(right))]
    accuracies = [wilson(float(hits[at]) / (at + 1), int(at) + 1) for at in enough]
    return (enough + 1) / len(right), accuracies


def _add_marks(axes: Any, found: Accuracy, marker: str, colour: Any, named: bool) -> None:
    """Mark the least probabilities of the report's table; name them at one spec's line."""
    for each in found.risk_coverage:
        if each.accuracy is None or each.answered < FEWEST:
            continue
        point = each.share.value, each.accuracy.value
        axes.plot(*point, marker=marker, color=colour, fillstyle="none", markersize=7)
        if named:
            axes.annotate(f"{each.min_probability:g}", point, (6, 5), textcoords="offset points", fontsize=8)
