"""One image while it is classified: which evaluations come next, and what their errors mean for its labels.

Prompts become labels here: a label's error in a draw is the mean over its prompts. For heatmaps the empty prompt is
evaluated, too, first in every draw, and changes nothing else. Must not know networks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from bigain_cli.classification.denoising import ScoringJob
from bigain_cli.classification.elimination import Elimination
from bigain_cli.classification.heatmaps import HeatmapSums
from bigain_cli.classification.ranking import Failure, ImageEvidence, Ranking
from bigain_cli.noise_draws import Draws


@dataclass(frozen=True)
class EmptyPrompt:
    """The empty prompt: its number, and the label that it is, if it is one; that label is the last."""

    prompt: int
    label: int | None


@dataclass
class ImageRun:
    """An image, its draws and the elimination of its labels; `place` is its place in the output."""

    place: int
    id: str
    latent: Tensor  # [c h w]
    draws: Draws
    elimination: Elimination
    started: float  # time.monotonic() when the image was taken in
    view: Image | None = None  # the image as the model sees it, where an output shows it
    empty: EmptyPrompt | None = None  # for heatmaps
    heatmap_sums: HeatmapSums = field(default_factory=HeatmapSums)

    @property
    def pending(self) -> int:
        """Evaluations in the next block."""
        return self.elimination.next_draws() * self.elimination.cost

    def next_job(self) -> ScoringJob:
        """Return the next block's work."""
        block = self.draws.block(self.elimination.draws, self.elimination.next_draws())
        ends = np.cumsum(self.elimination.costs)
        prompts = [
            prompt
            for label in np.flatnonzero(self.elimination.alive)
            for prompt in range(ends[label] - self.elimination.costs[label], ends[label])
        ]
        if self.empty is not None:
            prompts = [self.empty.prompt, *(prompt for prompt in prompts if prompt != self.empty.prompt)]
        return ScoringJob(self.latent, block, prompts)

    def label_errors(self, errors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the errors of the labels' prompts, without an empty prompt that is there for heatmaps only."""
        if self.empty is None:
            return errors
        competes = self.empty.label is not None and self.elimination.alive[self.empty.label]
        return np.column_stack([errors[:, 1:], errors[:, 0]]) if competes else errors[:, 1:]

    def add_errors(self, errors: NDArray[np.float32], sums: NDArray[np.float32] | None = None) -> None:
        """Take a block's errors [draws prompts], and their maps [prompts h w]."""
        alive = np.flatnonzero(self.elimination.alive)
        if self.empty is not None and sums is not None:
            sums = np.concatenate([sums, sums[:1]])  # the empty prompt is the last label, too, if it is one
            self.heatmap_sums.add(sums, errors[:, 0], [int(label) for label in alive], self.elimination.costs[alive])
        errors = self.label_errors(errors)
        ends = np.cumsum(self.elimination.costs[alive])
        table = np.full((len(errors), len(self.elimination.alive)), np.nan)
        for label, end in zip(alive, ends, strict=True):
            table[:, label] = errors[:, end - self.elimination.costs[label] : end].mean(axis=1, dtype=np.float64)
        self.elimination.add_errors(table)

    def restart(self, elimination: Elimination) -> None:
        """Drop all draws and start again."""
        self.elimination, self.heatmap_sums = elimination, HeatmapSums()

    def evidence(self) -> ImageEvidence | None:
        """Return what an output can show: the image, and its evidence maps."""
        if self.view is None:
            return None
        empty = self.empty
        return ImageEvidence(
            self.view, self.heatmap_sums.evidence(self.elimination, empty.label) if empty is not None else ()
        )

    def finished(self, deadline: float | None) -> bool:
        """Tell whether there is nothing more to do, or no more time to do it in."""
        return self.elimination.next_draws() == 0 or (deadline is not None and self.seconds() >= deadline)

    def seconds(self) -> float:
        """Return the time since the image was taken in."""
        return time.monotonic() - self.started


def finite(errors: Sequence[NDArray[np.float32]]) -> bool:
    """Tell whether every error is a number."""
    return all(bool(np.isfinite(part).all()) for part in errors)


class InOrder:
    """Holds a result back until all results before it have been returned."""

    def __init__(self) -> None:
        self._taken = self._given = 0
        self._held: dict[int, Ranking | Failure] = {}

    def take(self) -> int:
        """Reserve the next place."""
        self._taken += 1
        return self._taken - 1

    def add(self, place: int, result: Ranking | Failure) -> None:
        """Put a result in its place."""
        self._held[place] = result

    def ready(self) -> Iterator[Ranking | Failure]:
        """Yield every result with nothing missing before it."""
        while self._given in self._held:
            self._given += 1
            yield self._held.pop(self._given - 1)
