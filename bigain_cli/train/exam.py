"""A trained backbone's accuracy on pictures it has not seen, by the classifier that users run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL.Image import Image

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.phrases import Phrases
from bigain_cli.classifier import classify
from bigain_cli.estimators import fitted_temperature
from bigain_cli.quality.intervals import wilson
from bigain_cli.ranking import Ranking
from bigain_cli.rules import Rules
from bigain_cli.train.pictures import Pictures

DRAWS = 16
ENOUGH = 100  # pictures to fit a temperature to


@dataclass(frozen=True)
class Mark:
    """How many were right, and what was asked."""

    right: int
    count: int
    draws: int
    temperature: float | None = None  # that makes the probabilities right, under the backbone's own score

    @property
    def interval(self) -> tuple[float, float]:
        """Return Wilson's 95 % interval."""
        found = wilson(self.right / self.count, self.count)
        return found.low, found.high

    def __str__(self) -> str:
        low, high = self.interval
        share = f"{100 * self.right / self.count:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        return f"{share} of {self.count} held-out pictures, {self.draws} draws a label"


def examine(backbone: Backbone, phrases: Phrases, pictures: Pictures, count: int, seed: int) -> Iterator[int | Mark]:
    """Classify some pictures, drawn by the seed, among all classes; yield how many are done, and the mark at last."""
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    classes = list(phrases.classes)
    rules = Rules(schedule="fixed", draws=DRAWS, score=backbone.score)
    told = [phrases.question(name) if backbone.vocabulary is None else phrases.classes[name][0] for name in classes]
    labels = {str(number): text for number, text in enumerate(told)}  # names may be what no label is called
    answers = []
    results = classify(backbone, _shown(pictures, order), labels, rules=rules, seed=seed)
    for done, (number, result) in enumerate(zip(order, results, strict=True), 1):
        if isinstance(result, Ranking):
            answers.append((result, int(pictures.labels[number])))
        yield done
    right = sum(result.label == str(label) for result, label in answers)
    yield Mark(right, len(order), DRAWS, _temperature(answers, list(labels)))


def _temperature(answers: list[tuple[Ranking, int]], names: list[str]) -> float | None:
    """Fit a temperature, if there are enough answers to fit one to."""
    if len(answers) < ENOUGH:
        return None
    places = [{place.label: place for place in result.standings} for result, _ in answers]
    gaps = np.array([[found[name].behind for name in names] for found in places])
    errors = np.array([[found[name].error for name in names] for found in places])
    return fitted_temperature(gaps, errors, np.array([label for _, label in answers]))


def _shown(pictures: Pictures, order: list[int]) -> Iterator[tuple[str, Image]]:
    for number in order:
        yield str(number), pictures.image(number)
