"""What each part of a profile gains on images that it was not fitted to, and which parts are kept.

One part after the other is added to those kept before, if it gains more than a standard error in log loss. Images are
dealt to folds class by class. Must not know networks or files.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bigain_cli.classification.ranking import significant
from bigain_cli.evaluation.calibration import calibration_error
from bigain_cli.intervals import Interval, mean_interval
from bigain_cli.tuning.fitting import Array, Choice, Fitted, Numbers, fit, log_losses
from bigain_cli.tuning.recorded_errors import RecordedErrors

FOLDS = 5
BEYOND_CHANCE = 2  # standard errors by which a profile's answers must be better than equal probabilities
PARTS: dict[str, dict[str, Any]] = {  # by name, in the order in which they are tried
    "temperature": {"temperature": True},
    "score": {"score": True},
    "time weights, degree 1": {"degree": 1},
    "time weights, degree 2": {"degree": 2},
    "time weights, degree 3": {"degree": 3},
    "template": {"template": True},
    "label bias": {"bias": True},
}


@dataclass(frozen=True)
class Judged:
    """The answers to all images by what was fitted to other ones."""

    accuracy: float
    log_loss: float
    calibration_error: float
    losses: Array  # [images]
    right: Array  # [images]

    @staticmethod
    def of(probabilities: Array, truth: Numbers) -> Judged:
        """Judge probabilities."""  # [images labels]
        right, losses = probabilities.argmax(axis=1) == truth, log_losses(probabilities, truth)
        error = calibration_error(right, probabilities.max(axis=1))
        return Judged(float(right.mean()), float(losses.mean()), error, losses, right.astype(np.float64))

    def to_dict(self) -> dict[str, float | None]:
        """Return the record."""
        names = ("accuracy", "log_loss", "calibration_error")
        return {name: significant(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class Step:
    """A part that was tried: what it gains in log loss, with the standard error of that; and in accuracy."""

    part: str
    gain: float
    standard_error: float
    accuracy: float
    kept: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        numbers = {name: significant(getattr(self, name)) for name in ("gain", "standard_error", "accuracy")}
        return {"part": self.part, **numbers, "kept": self.kept}


@dataclass(frozen=True)
class CrossValidation:
    """What was tried, what was kept, and how the answers are before and after."""

    steps: tuple[Step, ...]
    choice: Choice
    before: Judged
    after: Judged
    beyond_chance: float  # standard errors by which the log loss after is better than that of equal probabilities

    @property
    def why_refused(self) -> str:
        """Why there is no profile; nothing if there is one."""
        if self.choice == Choice():
            return "nothing gains a standard error in cross-validation"
        if self.beyond_chance < BEYOND_CHANCE:
            return "even tuned, its answers are no better than chance in cross-validation"
        return ""

    def difference(self, measure: str) -> Interval:
        """Return how much the answers change, with the normal interval."""
        return mean_interval(list(getattr(self.after, measure) - getattr(self.before, measure)), -math.inf, math.inf)


def cross_validated(data: RecordedErrors, baseline: Fitted, seed: int) -> CrossValidation:
    """Try every part."""
    folds = folds_of(data.truth, seed)
    choice, steps = Choice(), list[Step]()
    before = now = _judged(choice, baseline, data, folds)
    for part, change in _parts(data):
        candidate = dataclasses.replace(choice, **change)
        found = _judged(candidate, baseline, data, folds)
        gain, error = _mean_and_error(now.losses - found.losses)
        kept = gain > error
        steps.append(Step(part, gain, error, found.accuracy - now.accuracy, kept))
        if kept:
            choice, now = candidate, found
    beyond, error = _mean_and_error(math.log(len(data.labels)) - now.losses)
    return CrossValidation(tuple(steps), choice, before, now, beyond / max(error, 1e-12))


def folds_of(truth: Numbers, seed: int) -> Numbers:
    """Return each image's fold; every class is spread over all folds."""
    generator, folds, next_fold = np.random.Generator(np.random.PCG64(seed % 2**64)), np.empty(len(truth), np.int64), 0
    for label in np.unique(truth):
        images = generator.permutation(np.flatnonzero(truth == label))
        folds[images] = (next_fold + np.arange(len(images))) % FOLDS
        next_fold += len(images)
    return folds


def _parts(data: RecordedErrors) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the parts that there is a choice for."""
    return ((part, change) for part, change in PARTS.items() if part != "template" or len(data.variants) > 1)


def _judged(choice: Choice, baseline: Fitted, data: RecordedErrors, folds: Numbers) -> Judged:
    """Answer every image by what is fitted to the other folds."""
    probabilities = np.empty((len(data), len(data.labels)))
    for fold in range(FOLDS):
        inside = np.flatnonzero(folds == fold)
        found = fit(choice, baseline, data, np.flatnonzero(folds != fold))
        probabilities[inside] = found.probabilities(data, inside)
    return Judged.of(probabilities, data.truth)


def _mean_and_error(values: Array) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
