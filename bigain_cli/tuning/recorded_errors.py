"""The recorded errors of labelled images, for each way to make prompts; and the losses that scores make of them.

In: error tables; out: arrays. Must not know networks, nor what is tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification.tuned_losses import polynomials
from bigain_cli.registry import SCORES, attribute

Array = NDArray[np.float64]
Variant = tuple[int, ...]  # numbers of ways to make prompts, whose errors are averaged
OWN: Variant = (0,)  # the model's own template, or the labels' own prompts
TUNABLE = tuple(name for name, score in SCORES.items() if not score.absolute and not score.bounded)


@dataclass(frozen=True)
class RecordedErrors:
    """Errors of every label in every draw, by the way in which prompts are made; the first is the model's own."""

    errors: Array  # [ways images draws labels]
    times: Array  # [images draws] from 0 to 1
    truth: NDArray[np.int64]  # [images]
    labels: tuple[str, ...]
    templates: tuple[str, ...] = ()  # of all ways but the first
    digests: tuple[str, ...] = ()  # of the images' pixels
    temperatures: dict[tuple[Variant, str, bytes], float] = field(default_factory=dict, repr=False, compare=False)
    _losses: dict[tuple[Variant, str], Array] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The templates to choose from: none, each by itself, and the mean of all."""
        single = tuple((number,) for number in range(1, len(self.errors)))
        return (OWN, *single, *((tuple(range(1, len(self.errors))),) if len(single) > 1 else ()))

    def templates_of(self, variant: Variant) -> tuple[str, ...]:
        """Return the templates of a variant; none are the model's own."""
        return tuple(self.templates[number - 1] for number in variant if number)

    def losses(self, variant: Variant, score: str) -> Array:
        """Return the losses of a score."""  # [images draws labels]
        key = (variant, score)
        if key not in self._losses:
            self._losses[key] = attribute(SCORES[score].losses)(self.errors[list(variant)].mean(axis=0))
        return self._losses[key]

    def moments(self, variant: Variant, score: str) -> Array:
        """Return mean losses, and those weighted by each polynomial of time."""  # [4 images labels]
        losses = self.losses(variant, score)
        weights = np.concatenate([np.ones((*self.times.shape, 1)), polynomials(self.times)], axis=-1)
        return np.einsum("idj,idk->jik", weights, losses) / losses.shape[1]


def prompt_groups(ways: Sequence[Sequence[Sequence[str]]]) -> tuple[list[str], list[list[list[int]]]]:
    """Return all different prompts, and the numbers of those of each label in each way."""
    prompts = list(dict.fromkeys(text for labels in ways for texts in labels for text in texts))
    number = {text: place for place, text in enumerate(prompts)}
    return prompts, [[[number[text] for text in texts] for texts in labels] for labels in ways]


def errors_of_labels(table: Array, groups: Sequence[Sequence[Sequence[int]]]) -> Array:
    """Return the errors of labels in each way: the means of their prompts'."""  # [ways draws labels]
    return np.stack([np.stack([table[:, numbers].mean(axis=1) for numbers in labels], axis=1) for labels in groups])
