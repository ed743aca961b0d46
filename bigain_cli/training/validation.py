"""The accuracy of a trained backbone on held-out images, measured with the library's `classify`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.vocabulary import PromptVocabulary
from bigain_cli.classification.classifier import classify
from bigain_cli.classification.estimators import fitted_temperature
from bigain_cli.classification.ranking import Ranking
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.intervals import wilson
from bigain_cli.training.image_tensors import LabelledImages

DRAWS = 16
MIN_FOR_TEMPERATURE = 100  # images needed to fit a temperature


@dataclass(frozen=True)
class Validation:
    """How many images were classified, and how many of them correctly."""

    correct: int
    count: int
    draws: int
    temperature: float | None = None  # that calibrates the probabilities under the backbone's score

    @property
    def interval(self) -> tuple[float, float]:
        """Return Wilson's 95 % interval."""
        interval = wilson(self.correct / self.count, self.count)
        return interval.low, interval.high

    def __str__(self) -> str:
        low, high = self.interval
        share = f"{100 * self.correct / self.count:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        return f"{share} of {self.count} held-out images, {self.draws} draws per label"


def validate(
    backbone: Backbone, vocabulary: PromptVocabulary, images: LabelledImages, count: int, seed: int
) -> Iterator[int | Validation]:
    """Classify some images, chosen by the seed, among all classes; yield how many are done, and at last the result."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    rules = StoppingRules(schedule="fixed", draws=DRAWS, score=backbone.score)
    # Labels are numbers, because a class may have a name that no label can have.
    prompts = {str(number): text for number, text in enumerate(prompt_of_each_class(backbone, vocabulary))}
    rankings, labels = [], []
    selected = ((str(number), images.image(number)) for number in order)
    results = classify(backbone, selected, prompts, rules=rules, seed=seed)
    for done, (number, result) in enumerate(zip(order, results, strict=True), 1):
        if isinstance(result, Ranking):
            rankings.append(result)
            labels.append(int(images.labels[number]))
        yield done
    correct = sum(ranking.label == str(label) for ranking, label in zip(rankings, labels, strict=True))
    yield Validation(correct, len(order), DRAWS, _fit_temperature(rankings, labels, list(prompts)))


def prompt_of_each_class(backbone: Backbone, vocabulary: PromptVocabulary) -> list[str]:
    """Return the prompt of every class, or its name where the backbone is conditioned on class numbers."""
    if backbone.vocabulary is None:
        return [vocabulary.prompt(name) for name in vocabulary.classes]
    return [names[0] for names in vocabulary.classes.values()]


def _fit_temperature(rankings: list[Ranking], labels: list[int], names: list[str]) -> float | None:
    """Fit a temperature, if there are enough images."""
    if len(rankings) < MIN_FOR_TEMPERATURE:
        return None
    ranked = [{each.label: each for each in ranking.ranked} for ranking in rankings]
    gaps = np.array([[by_name[name].gap for name in names] for by_name in ranked])
    errors = np.array([[by_name[name].standard_error for name in names] for by_name in ranked])
    return fitted_temperature(gaps, errors, np.array(labels))
