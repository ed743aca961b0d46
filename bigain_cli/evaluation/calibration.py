"""How far probabilities can be trusted: Brier score, NLL, calibration error, and accuracy of the more certain answers.

In: records; out: numbers. Only for images with one right label: where several are right, probabilities that sum to one
say nothing about each of them. Must not know how records are made or printed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigain_cli.intervals import Interval, mean_interval, wilson

BINS = 15
SIMULATIONS = 200  # of the truth, to estimate the calibration error by chance
THRESHOLDS = (0.5, 0.7, 0.9, 0.95)
LEAST = 1e-12  # smaller probabilities of the true label count as this one, so that the NLL is finite
Record = Mapping[str, Any]
Flags = NDArray[np.bool_]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """The answers that are given if only those with at least a certain probability are given."""

    min_probability: float
    answered: int
    right: int
    share: Interval  # of all images, that are answered
    accuracy: Interval | None  # of these; None if there are none

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        accuracy = None if self.accuracy is None else self.accuracy.to_dict()
        return {**vars(self), "share": self.share.to_dict(), "accuracy": accuracy}


def calibration_of(records: Sequence[Record], right: Flags, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, Any]:
    """Return the fields of an accuracy that tell how far its probabilities can be trusted."""
    confidence = confidences(records)
    return {
        "brier": brier_score(records),
        "nll": negative_log_likelihood(records),
        "ece": calibration_error(right, confidence),
        "ece_by_chance": chance_error(confidence),
        "risk_coverage": tuple(coverage(right, confidence, each) for each in sorted({*thresholds})),
    }


def confidences(records: Sequence[Record]) -> Probabilities:
    """Return the probability of each answer."""
    return np.array([record["probability"] for record in records], dtype=float)


def coverage(right: Flags, confidence: Probabilities, threshold: float) -> Coverage:
    """Return how many answers have at least this probability, and how many of them are right."""
    given = confidence >= threshold
    answered, hits = int(given.sum()), int(right[given].sum())
    accuracy = wilson(hits / answered, answered) if answered else None
    return Coverage(threshold, answered, hits, wilson(answered / len(right), len(right)), accuracy)


def squared_error(probabilities: Sequence[float], true: float) -> float:
    """Return an image's part of the Brier score: squared errors of all labels' probabilities, from 0 to 2.

    `true` is the true label's probability. With p its value and q the others': (1 - p)² + Σ q² = Σ all² - 2p + 1.
    """
    return math.fsum(each * each for each in probabilities) - 2 * true + 1


def brier_score(records: Sequence[Record]) -> Interval | None:
    """Return the mean squared error of all labels' probabilities; None if records of an old version lack it."""
    if not all("brier" in record for record in records):
        return None
    return mean_interval([record["brier"] for record in records], 0, 2)


def negative_log_likelihood(records: Sequence[Record]) -> Interval:
    """Return the mean of -ln of the true label's probability."""
    losses = [-math.log(max(record["truth_probability"], LEAST)) for record in records]
    return mean_interval(losses, 0, -math.log(LEAST))


def calibration_error(right: Flags, confidence: Probabilities) -> float:
    """Return the expected calibration error over equally wide bins of probability."""
    rows = reliability(right, confidence)
    return float(sum(abs(row["right"] - row["sure"]) * row["count"] for row in rows) / len(right))


def chance_error(confidence: Probabilities) -> float:
    """Return the expected calibration error if every probability were exact."""
    truths = np.random.default_rng(0).random((SIMULATIONS, len(confidence))) < confidence
    return float(np.mean([calibration_error(truth, confidence) for truth in truths]))


def reliability(right: Flags, confidence: Probabilities) -> list[dict[str, float]]:
    """Return the mean probability and the accuracy of the answers in each bin of probability."""
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows = []
    for number in np.unique(bin_of):
        inside = bin_of == number
        accuracy, mean = float(right[inside].mean()), float(confidence[inside].mean())
        rows.append({"from": number / BINS, "count": int(inside.sum()), "right": accuracy, "sure": mean})
    return rows
