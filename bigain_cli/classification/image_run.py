"""One image while it is classified: which evaluations come next, and their errors, averaged over a label's prompts.

For heatmaps the empty prompt is evaluated, too, first in every draw, and changes nothing else. Must not know networks.
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
    """The numbers of the empty prompt and, if it is a label (the last one), of that label."""

    prompt: int
    label: int | None

    @staticmethod
    def find(prompt_counts: Sequence[int], is_label: bool) -> EmptyPrompt:
        """Return the last label's prompt, or one after the prompts of all labels."""
        count = sum(prompt_counts)
        return EmptyPrompt(count - 1, len(prompt_counts) - 1) if is_label else EmptyPrompt(count, None)


@dataclass
class ImageRun:
    """An image, its draws and the elimination of its labels; `index` is its position in the output."""

    index: int
    id: str
    latent: Tensor  # [c h w]
    draws: Draws
    elimination: Elimination
    started: float  # time.monotonic() when the image was started
    image: Image | None = None  # as the model sees it, for outputs
    empty_prompt: EmptyPrompt | None = None  # for heatmaps
    damage: str = ""  # of the image file
    sha256: str | None = None  # of the image file
    heatmap_sums: HeatmapSums = field(default_factory=HeatmapSums)
    spent: float = 0.0  # seconds: its own encoding, and its share of the rounds that it was in

    @property
    def pending(self) -> int:
        """Evaluations in the next block."""
        return self.elimination.next_draws() * self.elimination.cost

    def next_job(self) -> ScoringJob:
        """Return the next block's draws and prompts."""
        block = self.draws.block(self.elimination.draws, self.elimination.next_draws())
        ends = np.cumsum(self.elimination.costs)
        prompts = [
            prompt
            for label in np.flatnonzero(self.elimination.remaining)
            for prompt in range(ends[label] - self.elimination.costs[label], ends[label])
        ]
        if self.empty_prompt is not None:
            first = self.empty_prompt.prompt
            prompts = [first, *(prompt for prompt in prompts if prompt != first)]
        return ScoringJob(self.latent, block, prompts)

    def is_finite(self, errors: NDArray[np.float32]) -> bool:
        """Tell whether the errors of all labels are numbers."""
        return bool(np.isfinite(self._label_errors(errors)).all())

    def _label_errors(self, errors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the errors of the labels' prompts, without an empty prompt that is evaluated for heatmaps only."""
        if self.empty_prompt is None:
            return errors
        label = self.empty_prompt.label
        competes = label is not None and self.elimination.remaining[label]
        return np.column_stack([errors[:, 1:], errors[:, 0]]) if competes else errors[:, 1:]

    def add_errors(self, errors: NDArray[np.float32], sums: NDArray[np.float32] | None = None) -> None:
        """Add a block's errors, and their heatmap sums."""  # [draws prompts], [prompts h w]
        remaining = np.flatnonzero(self.elimination.remaining)
        costs = self.elimination.costs[remaining]
        if sums is not None:
            sums = np.concatenate([sums, sums[:1]])  # the empty prompt again, in case it is the last label
            self.heatmap_sums.add(sums, errors[:, 0], [int(label) for label in remaining], costs)
        errors = self._label_errors(errors)
        table = np.full((len(errors), len(self.elimination.remaining)), np.nan)
        for label, cost, end in zip(remaining, costs, np.cumsum(costs), strict=True):
            table[:, label] = errors[:, end - cost : end].mean(axis=1, dtype=np.float64)
        self.elimination.add_errors(table, self.draws.times(self.elimination.draws, len(errors)))

    def restart(self, elimination: Elimination) -> None:
        """Drop all draws and start again."""
        self.elimination, self.heatmap_sums = elimination, HeatmapSums()

    def evidence(self) -> ImageEvidence | None:
        """Return the image and its evidence maps, for outputs."""
        if self.image is None:
            return None
        if self.empty_prompt is None:
            return ImageEvidence(self.image)
        return ImageEvidence(self.image, self.heatmap_sums.evidence(self.elimination, self.empty_prompt.label))

    def finished(self, deadline: float | None) -> bool:
        """Tell whether no further draws are needed, or no time is left for them."""
        return self.elimination.next_draws() == 0 or (deadline is not None and self.seconds() >= deadline)

    def took(self, alone: bool) -> float:
        """Return the seconds that the image itself took: all of them if no other ran beside it."""
        return self.seconds() if alone else self.spent

    def seconds(self) -> float:
        """Return the time since the image was started."""
        return time.monotonic() - self.started


class OrderedResults:
    """Holds each result back until all results before it have been returned."""

    def __init__(self) -> None:
        self._reserved = self._returned = 0
        self._waiting: dict[int, Ranking | Failure] = {}

    def reserve(self) -> int:
        """Reserve the next index."""
        self._reserved += 1
        return self._reserved - 1

    def add(self, index: int, result: Ranking | Failure) -> None:
        """Add the result of a reserved index."""
        self._waiting[index] = result

    def ready(self) -> Iterator[Ranking | Failure]:
        """Yield every result with nothing missing before it."""
        while self._returned in self._waiting:
            self._returned += 1
            yield self._waiting.pop(self._returned - 1)
