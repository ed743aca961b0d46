"""A trained backbone's accuracy on images it has not seen, by the classifier that users run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL.Image import Image

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.vocabulary import PromptVocabulary
from bigain_cli.classification.classifier import classify
from bigain_cli.classification.estimators import fitted_temperature
from bigain_cli.classification.ranking import Ranking
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.intervals import wilson
from bigain_cli.training.image_tensors import LabelledImages

DRAWS = 16
ENOUGH = 100  # images to fit a temperature to


@dataclass(frozen=True)
class Validation:
    """How many images were classified, and how many of them right."""

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
        return f"{share} of {self.count} held-out images, {self.draws} draws per label"


def validate(
    backbone: Backbone, phrases: PromptVocabulary, images: LabelledImages, count: int, seed: int
) -> Iterator[int | Validation]:
    """Classify some images, chosen by the seed, among all classes; yield how many are done, and the result at last."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    rules = StoppingRules(schedule="fixed", draws=DRAWS, score=backbone.score)
    labels = {str(number): text for number, text in enumerate(questions(backbone, phrases))}  # names may be no labels
    answers = []
    results = classify(backbone, _chosen(images, order), labels, rules=rules, seed=seed)
    for done, (number, result) in enumerate(zip(order, results, strict=True), 1):
        if isinstance(result, Ranking):
            answers.append((result, int(images.labels[number])))
        yield done
    right = sum(result.label == str(label) for result, label in answers)
    yield Validation(right, len(order), DRAWS, _temperature(answers, list(labels)))


def questions(backbone: Backbone, phrases: PromptVocabulary) -> list[str]:
    """Return the prompt of every class: a sentence, or the name alone where the backbone reads no sentences."""
    if backbone.vocabulary is None:
        return [phrases.prompt(name) for name in phrases.classes]
    return [names[0] for names in phrases.classes.values()]


def _temperature(answers: list[tuple[Ranking, int]], names: list[str]) -> float | None:
    """Fit a temperature, if there are enough answers to fit one to."""
    if len(answers) < ENOUGH:
        return None
    places = [{place.label: place for place in result.ranked} for result, _ in answers]
    gaps = np.array([[found[name].behind for name in names] for found in places])
    errors = np.array([[found[name].error for name in names] for found in places])
    return fitted_temperature(gaps, errors, np.array([label for _, label in answers]))


def _chosen(images: LabelledImages, order: list[int]) -> Iterator[tuple[str, Image]]:
    for number in order:
        yield str(number), images.image(number)
