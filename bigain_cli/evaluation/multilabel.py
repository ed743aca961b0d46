"""Images with several right labels: mean average precision and precision of the first label.

Scores are the evidence against the empty prompt, of labels that all took the same draws. The mean average precision has
a bootstrap over images, the same resamples for all specs, so that differences are paired; the first label is a share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigain_cli.evaluation.accuracy import Flags, Record, mcnemar, mean, paired_interval, per
from bigain_cli.intervals import Interval, resamples, spread, wilson

TIMES, SEED = 1000, 0
UNKNOWN = Interval(math.nan, math.nan, math.nan)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class MultilabelPrecision:
    """A spec's precision on `count` images; costs are means per image."""

    count: int
    labelled: int  # images that have a label: `first` is of these
    classes: int  # that any of the images has: the mean is over these
    mean_average: Interval
    first: Interval
    draws: float
    evaluations: float
    seconds: float
    gflop: float
    firsts: NDArray[np.intp] = field(repr=False, compare=False)  # which label came first
    hits: Flags = field(repr=False, compare=False)  # where it was right
    replicates: Array = field(repr=False, compare=False)  # of the mean average

    def to_dict(self) -> dict[str, Any]:
        """Return the record; without what is kept for each image or replicate."""
        shared = {name: value for name, value in vars(self).items() if name not in ("firsts", "hits", "replicates")}
        shared["gflop_evaluation"] = self.gflop_evaluation
        return {**shared, "mean_average": self.mean_average.to_dict(), "first": self.first.to_dict()}

    @property
    def gflop_evaluation(self) -> float | None:
        """Return what an evaluation cost; nothing if there was none."""
        return per(self.gflop, self.evaluations)


@dataclass(frozen=True)
class MultilabelDifference:
    """One spec's precision minus another's on the images that both answered."""

    spec: str
    against: str
    count: int
    mean_average: Interval
    first: Interval
    gained: int  # the first label right where the other's was wrong
    lost: int
    p: float  # McNemar's exact test on the first label, two-sided
    agreement: Interval  # share of images with the same first label

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        intervals = {name: getattr(self, name).to_dict() for name in ("mean_average", "first", "agreement")}
        return {**vars(self), **intervals}


def multilabel_difference(
    spec: str, against: str, mine: MultilabelPrecision, other: MultilabelPrecision
) -> MultilabelDifference:
    """Compare two specs' precision on the same images."""
    gained, lost = int((mine.hits & ~other.hits).sum()), int((other.hits & ~mine.hits).sum())
    average = spread(mine.mean_average.value - other.mean_average.value, mine.replicates - other.replicates)
    first = paired_interval(gained, lost, mine.labelled) if mine.labelled else UNKNOWN
    same = wilson(float((mine.firsts == other.firsts).mean()), mine.count)
    return MultilabelDifference(spec, against, mine.count, average, first, gained, lost, mcnemar(gained, lost), same)


def precision_of(records: Sequence[Record]) -> MultilabelPrecision:
    """Sum a spec's evidence up."""
    names = sorted(records[0]["evidence"])
    scores = np.array([[record["evidence"][name] for name in names] for record in records])
    truth = np.array([[name in record["truth"] for name in names] for record in records])
    weights = resamples(len(records), TIMES, SEED)
    firsts = scores.argmax(axis=1)
    hits = truth[np.arange(len(records)), firsts]
    labelled = int(truth.any(axis=1).sum())
    averages = mean_average(scores, truth, weights)
    whole = mean_average(scores, truth, np.ones((1, len(records))))[0]
    return MultilabelPrecision(
        count=len(records),
        labelled=labelled,
        classes=int(truth.any(axis=0).sum()),
        mean_average=spread(float(whole), averages, 0.0, 1.0),
        first=wilson(int(hits.sum()) / labelled, labelled) if labelled else UNKNOWN,
        draws=mean(records, "draws"),
        evaluations=mean(records, "evaluations"),
        seconds=mean(records, "seconds"),
        gflop=mean(records, "gflop"),
        firsts=firsts,
        hits=hits,
        replicates=averages,
    )


def mean_average(scores: Array, truth: NDArray[np.bool_], weights: Array) -> Array:
    """Return, for each row of weights, the mean over classes of the average precision; classes never true are out."""
    columns = [
        average_precision(scores[:, k], truth[:, k], weights) for k in range(scores.shape[1]) if truth[:, k].any()
    ]
    if not columns:
        return np.full(len(weights), np.nan)
    table = np.stack(columns)
    there = ~np.isnan(table)
    return np.divide(
        np.where(there, table, 0).sum(0), there.sum(0), out=np.full(len(weights), np.nan), where=there.any(0)
    )


def average_precision(scores: Array, truth: NDArray[np.bool_], weights: Array) -> Array:
    """Return the mean, over the right images, of the precision down to each; equal scores are counted together."""
    order = np.argsort(-scores, kind="stable")
    ranked, right, weight = scores[order], truth[order], weights[:, order]
    last = np.searchsorted(-ranked, -ranked, side="right") - 1  # the last image with the same score
    seen, hits = np.cumsum(weight, axis=1)[:, last], np.cumsum(weight * right, axis=1)[:, last]
    gain = weight * right
    total = gain.sum(axis=1)
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    return np.divide((gain * precision).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)
