"""Images with several right labels: mean average precision (mAP), and precision of the first label.

In: records whose evidence compares each label with the empty prompt on the same draws; out: numbers. The interval of
the mAP is a bootstrap over images, with the same resamples for all specs, so that differences are paired.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigain_cli.evaluation.accuracy import (
    fields_of,
    gained_and_lost,
    mcnemar,
    mean_costs,
    paired_interval,
    ratio,
)
from bigain_cli.evaluation.calibration import Flags, Record
from bigain_cli.intervals import Array, Interval, resamples, spread, wilson

RESAMPLES, SEED = 1000, 0
UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class MultilabelPrecision:
    """A spec's precision on `count` images; costs are means per image."""

    count: int
    labelled: int  # images with a label; `first` is over these
    classes: int  # classes that occur; the mean is over these
    mean_average: Interval
    first: Interval
    draws: float
    evaluations: float
    seconds: float
    gflop: float
    firsts: NDArray[np.intp] = field(repr=False, compare=False)  # index of each image's first label
    hits: Flags = field(repr=False, compare=False)  # where it is right
    replicates: Array = field(repr=False, compare=False)  # of the mAP

    @property
    def headline(self) -> str:
        """The precision, as a phrase."""
        return self.mean_average.percent(unit=" % mAP")

    def to_dict(self) -> dict[str, Any]:
        """Return the record, without arrays."""
        plain = {name: value for name, value in fields_of(self).items() if not isinstance(value, np.ndarray)}
        return {**plain, "gflop_evaluation": ratio(self.gflop, self.evaluations)}


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
        return fields_of(self)


def multilabel_difference(
    spec: str, against: str, first: MultilabelPrecision, second: MultilabelPrecision
) -> MultilabelDifference:
    """Compare two specs' precision on the same images."""
    gained, lost = gained_and_lost(first.hits, second.hits)
    average = spread(first.mean_average.value - second.mean_average.value, first.replicates - second.replicates)
    top = paired_interval(gained, lost, first.labelled) if first.labelled else UNKNOWN
    same = wilson(float((first.firsts == second.firsts).mean()), first.count)
    return MultilabelDifference(spec, against, first.count, average, top, gained, lost, mcnemar(gained, lost), same)


def precision_of(records: Sequence[Record]) -> MultilabelPrecision:
    """Return the precision of a spec's records."""
    names = sorted(records[0]["evidence"])
    scores = np.array([[record["evidence"][name] for name in names] for record in records])
    truth = np.array([[name in record["truth"] for name in names] for record in records])
    weights = resamples(len(records), RESAMPLES, SEED)
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
        **mean_costs(records),
        firsts=firsts,
        hits=hits,
        replicates=averages,
    )


def mean_average(scores: Array, truth: NDArray[np.bool_], weights: Array) -> Array:
    """Return, for each row of weights, the average precision's mean over the classes that occur."""
    columns = [
        average_precision(scores[:, k], truth[:, k], weights) for k in range(scores.shape[1]) if truth[:, k].any()
    ]
    if not columns:
        return np.full(len(weights), np.nan)
    table = np.stack(columns)
    known = ~np.isnan(table)
    total = np.where(known, table, 0).sum(0)
    return np.divide(total, known.sum(0), out=np.full(len(weights), np.nan), where=known.any(0))


def average_precision(scores: Array, truth: NDArray[np.bool_], weights: Array) -> Array:
    """Return the mean, over the right images, of the precision up to each one's rank; equal scores share a rank."""
    order = np.argsort(-scores, kind="stable")
    ranked, right, weight = scores[order], truth[order], weights[:, order]
    last = np.searchsorted(-ranked, -ranked, side="right") - 1  # the last image with the same score
    seen, hits = np.cumsum(weight, axis=1)[:, last], np.cumsum(weight * right, axis=1)[:, last]
    gain = weight * right
    total = gain.sum(axis=1)
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    return np.divide((gain * precision).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)
