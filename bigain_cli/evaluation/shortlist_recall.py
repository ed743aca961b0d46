"""How much a shortlist loses and saves, on images that were also classified with all labels.

In: paired records; out: how often the winner of all labels was asked, and the evaluations of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bigain_cli.evaluation.accuracy import Difference, correct, difference, fields_of
from bigain_cli.evaluation.calibration import Record
from bigain_cli.intervals import Interval, wilson


@dataclass(frozen=True)
class ShortlistRecall:
    """A spec with a shortlist, against the same spec with all labels."""

    spec: str
    against: str
    count: int
    recall: Interval  # share of images whose winner of all labels was asked
    truth_asked: Interval  # share of images whose true label was asked
    asked: float  # labels per image
    evaluations: float
    evaluations_of_all: float
    accuracy: Difference

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return {**fields_of(self), "accuracy": self.accuracy.to_dict()}


def recall_of(spec: str, against: str, kept: Mapping[str, Sequence[Record]], names: Sequence[str]) -> ShortlistRecall:
    """Compare two specs of which the first has a shortlist; both have the same images in the same order."""
    short, whole, number = kept[spec], kept[against], {name: place for place, name in enumerate(names)}
    asked = [frozenset(record["asked_labels"]) for record in short]
    winners = [number[record["label"]] in labels for record, labels in zip(whole, asked, strict=True)]
    truths = [number[record["truth"][0]] in labels for record, labels in zip(short, asked, strict=True)]
    same = np.array([one["label"] == other["label"] for one, other in zip(short, whole, strict=True)])
    return ShortlistRecall(
        spec=spec,
        against=against,
        count=len(short),
        recall=wilson(float(np.mean(winners)), len(short)),
        truth_asked=wilson(float(np.mean(truths)), len(short)),
        asked=float(np.mean([len(labels) for labels in asked])),
        evaluations=float(np.mean([record["evaluations"] for record in short])),
        evaluations_of_all=float(np.mean([record["evaluations"] for record in whole])),
        accuracy=difference(spec, against, correct(short), correct(whole), same),
    )
