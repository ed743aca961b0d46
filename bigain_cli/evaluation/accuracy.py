"""What one spec did, in numbers: accuracies with 95 % intervals, cost, calibration; from its records alone.

Must not know how records are made or printed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigain_cli.intervals import Interval, Z, wilson

BINS = 10
WORLDS = 200  # made-up truths, to see how large a calibration error is by chance alone
Record = Mapping[str, Any]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Accuracy:
    """A spec's accuracy and cost on `count` images; costs are means per image."""

    count: int
    top1: Interval
    top5: Interval
    per_class: Interval  # the mean of the classes' accuracies
    decided: Interval  # share of images that were decided
    decided_right: Interval | None  # accuracy among them
    draws: float
    evaluations: float
    seconds: float
    gflop: float
    ece: float
    ece_by_chance: float  # what it would be on average if every probability were exact

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        shares = {
            name: value.to_dict() if value is not None else None
            for name, value in vars(self).items()
            if isinstance(value, Interval | None)
        }
        return {**vars(self), **shares, "gflop_evaluation": self.gflop_evaluation}

    @property
    def gflop_evaluation(self) -> float | None:
        """Return what an evaluation cost; nothing if there was none."""
        return per(self.gflop, self.evaluations)


def accuracy_of(records: Sequence[Record]) -> Accuracy:
    """Sum a spec's answers up."""
    count = len(records)
    right = correct(records)
    decided = np.array([record["decided"] for record in records])
    sure = np.array([record["probability"] for record in records], dtype=float)
    return Accuracy(
        count=count,
        top1=wilson(float(right.mean()), count),
        top5=wilson(float(np.mean([record["rank"] <= 5 for record in records])), count),
        per_class=mean_of_classes(right, [record["truth"][0] for record in records]),
        decided=wilson(float(decided.mean()), count),
        decided_right=wilson(float(right[decided].mean()), int(decided.sum())) if decided.any() else None,
        draws=mean(records, "draws"),
        evaluations=mean(records, "evaluations"),
        seconds=mean(records, "seconds"),
        gflop=mean(records, "gflop"),
        ece=calibration_error(right, sure),
        ece_by_chance=chance_error(sure),
    )


def correct(records: Sequence[Record]) -> Flags:
    """Tell which answers were right."""
    return np.array([record["label"] in record["truth"] for record in records])


def mean(records: Sequence[Record], key: str) -> float:
    """Return a key's mean."""
    return float(np.mean([record[key] for record in records]))


def per(total: float, count: float) -> float | None:
    """Return a total by its count."""
    return total / count if count else None


def mean_of_classes(right: Flags, truth: Sequence[str]) -> Interval:
    """Return the mean of the classes' accuracies, with Wilson's interval.

    It is worth as many images as classes of one size would need for the same precision: of such classes, all.
    """
    _, place, counts = np.unique(np.array(truth), return_inverse=True, return_counts=True)
    shares = np.bincount(place, weights=right) / counts
    return wilson(float(shares.mean()), len(counts) ** 2 / float((1 / counts).sum()))


def calibration_error(right: Flags, sure: NDArray[np.float64], bins: int = BINS) -> float:
    """Return the expected calibration error over equally wide bins of probability."""
    return float(
        sum(abs(row["right"] - row["sure"]) * row["count"] for row in reliability(right, sure, bins)) / len(right)
    )


def chance_error(sure: NDArray[np.float64]) -> float:
    """Return the calibration error to be expected if every probability were exact."""
    truths = np.random.default_rng(0).random((WORLDS, len(sure))) < sure
    return float(np.mean([calibration_error(truth, sure) for truth in truths]))


def reliability(right: Flags, sure: NDArray[np.float64], bins: int = BINS) -> list[dict[str, float]]:
    """Return how sure the answers of each bin were, and how many of them were right."""
    place = np.minimum((sure * bins).astype(int), bins - 1)
    rows = []
    for number in np.unique(place):
        here = place == number
        share, given = float(right[here].mean()), float(sure[here].mean())
        rows.append({"from": number / bins, "count": int(here.sum()), "right": share, "sure": given})
    return rows


def confusion(records: Sequence[Record], names: Sequence[str]) -> list[list[int]]:
    """Count answers (columns) by true label (rows)."""
    place = {name: number for number, name in enumerate(names)}
    table = np.zeros((len(names), len(names)), dtype=int)
    for record in records:
        table[place[record["truth"][0]], place[record["label"]]] += 1
    return table.tolist()


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
        return {**vars(self), "interval": self.interval.to_dict(), "agreement": self.agreement.to_dict()}


def difference(spec: str, against: str, mine: Flags, other: Flags, same: Flags) -> Difference:
    """Compare which images two specs got right, and where they gave the same answer."""
    gained, lost = int((mine & ~other).sum()), int((other & ~mine).sum())
    agreement = wilson(float(same.mean()), len(same))
    interval = paired_interval(gained, lost, len(mine))
    return Difference(spec, against, len(mine), gained, lost, interval, mcnemar(gained, lost), agreement)


def paired_interval(gained: int, lost: int, count: int) -> Interval:
    """Return a difference of paired shares with Agresti and Min's interval: half an image more in each cell."""
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
