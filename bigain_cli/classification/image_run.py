"""One image while it is classified: which evaluations come next, and their errors, averaged over a label's prompts.

For heatmaps the empty prompt is evaluated, too, first in every draw, and changes nothing else. Must not know networks.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from bigain_cli.classification.asking import Asking
from bigain_cli.classification.denoising import ScoringJob
from bigain_cli.classification.elimination import Elimination
from bigain_cli.classification.heatmaps import HeatmapSums
from bigain_cli.classification.ranking import ImageEvidence, Ranking
from bigain_cli.classification.viewed_image import ViewedImage
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


def prompt_numbers(counts: Sequence[int]) -> list[range]:
    """Return the numbers of each label's prompts, which come label by label."""
    return [range(end - count, end) for end, count in zip(itertools.accumulate(counts), counts, strict=True)]


@dataclass
class ImageRun:
    """An image, its draws and its labels: first those that are asked, then their elimination.

    `index` is its position in the output, `prompts` are the numbers of each label's prompts.
    """

    index: int
    id: str
    viewed: ViewedImage
    asking: Asking
    eliminate: Callable[[Sequence[int]], Elimination]  # of labels of these numbers
    prompts: Sequence[range]
    started: float  # time.monotonic() when the image was started
    image: Image | None = None  # as the model sees it, for outputs
    empty_prompt: EmptyPrompt | None = None  # for heatmaps
    damage: str = ""  # of the image file
    sha256: str | None = None  # of the image file
    heatmap_sums: HeatmapSums = field(default_factory=HeatmapSums)
    spent: float = 0.0  # seconds: its own encoding, and its share of the rounds that it was in
    with_shortlist: bool = False  # whether labels may be left out
    passes: int = 0  # draws for which what all labels share was computed
    asked: list[int] = field(default_factory=list)  # numbers of the labels in the elimination
    elimination: Elimination = field(init=False)

    @property
    def pending(self) -> int:
        """Evaluations in the next block."""
        return self.asking.cost or self.elimination.next_draws() * self.elimination.cost

    def next_job(self) -> ScoringJob:
        """Return the next block's draws and prompts."""
        if self.asking.labels:
            start, count = 0, self.asking.draws
        else:
            start, count = self.elimination.draws, self.elimination.next_draws()
        prompts = [prompt for label in self._labels() for prompt in self.prompts[label]]
        if self.empty_prompt is not None:
            first = self.empty_prompt.prompt
            prompts = [first, *(prompt for prompt in prompts if prompt != first)]
        latents, views = self.viewed.latents(start, count), self.draws.views_of(start, count)
        return ScoringJob(latents, self.draws.block(start, count), prompts, views if self.draws.views else ())

    @property
    def draws(self) -> Draws:
        """The draws of the image."""
        return self.viewed.draws

    def _labels(self) -> list[int]:
        """Return the numbers of the labels of the next block."""
        if self.asking.labels:
            return self.asking.labels
        return [self.asked[place] for place in np.flatnonzero(self.elimination.remaining)]

    def is_finite(self, errors: NDArray[np.float32]) -> bool:
        """Tell whether the errors of all labels are numbers."""
        return bool(np.isfinite(self._label_errors(errors)).all())

    def _label_errors(self, errors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the errors of the labels' prompts, without an empty prompt that is evaluated for heatmaps only."""
        if self.empty_prompt is None:
            return errors
        competes = self.empty_prompt.label in self._labels()
        return np.column_stack([errors[:, 1:], errors[:, 0]]) if competes else errors[:, 1:]

    def add_errors(self, errors: NDArray[np.float32], sums: NDArray[np.float32] | None = None) -> None:
        """Add a block's errors, and their heatmap sums."""  # [draws prompts], [prompts h w]
        labels = self._labels()
        costs = np.asarray([len(self.prompts[label]) for label in labels])
        if sums is not None:
            sums = np.concatenate([sums, sums[:1]])  # the empty prompt again, in case it is the last label
            if self.asking.labels and self.asking.passes:
                self.heatmap_sums.add_labels(sums, labels, costs)
            else:
                self.heatmap_sums.add(sums, errors[:, 0], labels, costs)
        found = _label_means(self._label_errors(errors), costs)
        if self.asking.labels:
            self._ask_more(found)
            return
        table = np.full((len(errors), len(self.asked)), np.nan)
        table[:, self.elimination.remaining] = found
        self.passes += len(errors)
        self.elimination.add_errors(table, self.draws.times(self.elimination.draws, len(errors)))

    def _ask_more(self, errors: NDArray[np.float64]) -> None:
        """Add a round of asking; all labels asked so far are compared on the same draws."""
        asking, times = self.asking, self.draws.times(0, len(errors))
        asking.add(errors, times)
        self.asked, self.passes = asking.asked, asking.passes
        self.elimination = self.eliminate(self.asked)
        self.elimination.add_errors(asking.table[:, self.asked], times, asking.evaluations)

    def restart(self, asking: Asking) -> None:
        """Drop all draws and start again."""
        self.asking, self.heatmap_sums = asking, HeatmapSums()

    def ranking(self, settings: dict[str, Any], seconds: float | None, finished: bool) -> Ranking:
        """Rank the labels that were asked."""
        ranking = self.elimination.ranking(self.id, settings, seconds, finished)
        if not self.with_shortlist:
            return ranking
        found = {each.label: each.probability for each in ranking.ranked}
        probabilities = np.array([found[label] for label in self.elimination.labels])
        not_asked = len(self.prompts) - len(self.asked)
        return ranking.short_of(not_asked, self.asking.left_out(probabilities) if not_asked else 0.0)

    def evidence(self) -> ImageEvidence | None:
        """Return the image and its evidence maps, for outputs."""
        if self.image is None:
            return None
        if self.empty_prompt is None:
            return ImageEvidence(self.image)
        return ImageEvidence(
            self.image, self.heatmap_sums.evidence(self.elimination, self.asked, self.empty_prompt.label)
        )

    def finished(self, deadline: float | None) -> bool:
        """Tell whether no further draws are needed, or no time is left for them."""
        done = not self.asking.labels and self.elimination.next_draws() == 0
        return done or (deadline is not None and self.seconds() >= deadline)

    def took(self, alone: bool) -> float:
        """Return the seconds that the image itself took: all of them if no other ran beside it."""
        return self.seconds() if alone else self.spent

    def seconds(self) -> float:
        """Return the time since the image was started."""
        return time.monotonic() - self.started


def _label_means(errors: NDArray[np.float32], costs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each label's mean over its prompts."""  # [draws prompts] -> [draws labels]
    if len(costs) == errors.shape[1]:
        return errors.astype(np.float64)
    ends = np.cumsum(costs)
    means = [errors[:, end - cost : end].mean(axis=1, dtype=np.float64) for cost, end in zip(costs, ends, strict=True)]
    return np.stack(means, axis=1)
