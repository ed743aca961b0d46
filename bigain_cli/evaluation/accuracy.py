"""A spec's accuracy with 95 % intervals, its cost, and paired differences between two specs.

In: records; out: numbers. Must not know how records are made or printed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bigain_cli.evaluation.calibration import BINS, THRESHOLDS, Coverage, Flags, Record, calibration_of
from bigain_cli.evaluation.records import COSTS
from bigain_cli.intervals import Interval, Z, wilson


@dataclass(frozen=True)
class Accuracy:
    """A spec's accuracy and cost on `count` images; costs are means per image."""

    count: int
    top1: Interval
    top5: Interval | None  # None with five labels or fewer: it would be 1
    per_class: Interval  # the mean of the classes' accuracies
    settled: Interval  # share of settled images
    settled_right: Interval | None  # accuracy on settled images
    draws: float
    evaluations: float
    seconds: float
    gflop: float
    brier: Interval | None  # 0 to 2; None if records of an old version lack it
    nll: Interval
    ece: float
    ece_by_chance: float  # its expected value if every probability were exact
    risk_coverage: tuple[Coverage, ...]  # by threshold

    @property
    def headline(self) -> str:
        """The share of right answers, as a phrase."""
        return self.top1.percent(unit=" % right")

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        found = fields_of(self)
        aliases = {f"decided{more}": found[f"settled{more}"] for more in ("", "_right")}  # until the next minor version
        levels = {"ece_bins": BINS, "risk_coverage": [each.to_dict() for each in self.risk_coverage]}
        return {**found, **aliases, **levels, "gflop_evaluation": ratio(self.gflop, self.evaluations)}


@dataclass(frozen=True)
class Difference:
    """One spec minus another on the images that both answered."""

    spec: str
    against: str
    count: int
    gained: int  # right where the other was wrong
    lost: int
    interval: Interval
    p: float  # McNemar's exact test, two-sided
    agreement: Interval  # share of images with the same answer

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return fields_of(self)


def fields_of(result: object) -> dict[str, Any]:
    """Return a result's fields; intervals as records."""
    return {name: value.to_dict() if isinstance(value, Interval) else value for name, value in vars(result).items()}


def ratio(total: float, count: float) -> float | None:
    """Return a total divided by its count; None if there is none."""
    return total / count if count else None


def accuracy_of(records: Sequence[Record], labels: int, thresholds: Sequence[float] = THRESHOLDS) -> Accuracy:
    """Return the accuracy of a spec's records, of which each chooses one of so many labels."""
    count = len(records)
    right = correct(records)
    settled = np.array([is_settled(record) for record in records])
    return Accuracy(
        count=count,
        top1=wilson(float(right.mean()), count),
        top5=None if labels <= 5 else wilson(float(np.mean([_is_in_first_five(record) for record in records])), count),
        per_class=mean_of_classes(right, [record["truth"][0] for record in records]),
        settled=wilson(float(settled.mean()), count),
        settled_right=wilson(float(right[settled].mean()), int(settled.sum())) if settled.any() else None,
        **mean_costs(records),
        **calibration_of(records, right, thresholds),
    )


def _is_in_first_five(record: Record) -> bool:
    """Return whether the right label is; one that a shortlist left out has the rank behind those that were asked."""
    asked: list[int] | None = record.get("asked_labels")
    return bool(record["rank"] <= (5 if asked is None else min(5, len(asked))))


def is_settled(record: Record) -> bool:
    """Return whether more draws would hardly change the answer; `decided` is the field's old name."""
    return bool(record["settled"] if "settled" in record else record["decided"])


def correct(records: Sequence[Record]) -> Flags:
    """Return which answers were right."""
    return np.array([record["label"] in record["truth"] for record in records])


def mean_costs(records: Sequence[Record]) -> dict[str, Any]:
    """Return the mean of each cost."""
    return {key: float(np.mean([record[key] for record in records])) for key in COSTS}


def mean_of_classes(right: Flags, truth: Sequence[str]) -> Interval:
    """Return the mean of the classes' accuracies, with Wilson's interval.

    The interval's sample size is the number of images that equally large classes would need for the same precision.
    """
    _, class_of, counts = np.unique(np.array(truth), return_inverse=True, return_counts=True)
    shares = np.bincount(class_of, weights=right) / counts
    return wilson(float(shares.mean()), len(counts) ** 2 / float((1 / counts).sum()))


def confusion(records: Sequence[Record], names: Sequence[str]) -> list[list[int]]:
    """Count answers (columns) by true label (rows)."""
    index = {name: number for number, name in enumerate(names)}
    table = np.zeros((len(names), len(names)), dtype=int)
    for record in records:
        table[index[record["truth"][0]], index[record["label"]]] += 1
    return table.tolist()


def difference(spec: str, against: str, right: Flags, other: Flags, same: Flags) -> Difference:
    """Compare which images two specs classified right, and where they gave the same answer."""
    gained, lost = gained_and_lost(right, other)
    agreement = wilson(float(same.mean()), len(same))
    interval = paired_interval(gained, lost, len(right))
    return Difference(spec, against, len(right), gained, lost, interval, mcnemar(gained, lost), agreement)


def gained_and_lost(right: Flags, other: Flags) -> tuple[int, int]:
    """Return on how many images only the one is right, and only the other."""
    return int((right & ~other).sum()), int((other & ~right).sum())


def paired_interval(gained: int, lost: int, count: int) -> Interval:
    """Return a difference of paired shares with Agresti and Min's interval: half an image added to each cell."""
    total, more, less = count + 2, gained + 0.5, lost + 0.5
    middle = (more - less) / total
    half = Z * math.sqrt(more + less - (more - less) ** 2 / total) / total
    value = (gained - lost) / count
    return Interval(value, max(-1.0, min(value, middle - half)), min(1.0, max(value, middle + half)))


def mcnemar(gained: int, lost: int) -> float:
    """Return how likely so uneven a split of the differing images would be if neither spec were better."""
    n, k = gained + lost, min(gained, lost)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    return min(1.0, 2 * tail)
