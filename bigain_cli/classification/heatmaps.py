"""Heatmaps: where in the image the evidence lies.

From residuals to errors per pixel, summed over a round's draws, then over an image's rounds, then to evidence maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bigain_cli.classification.elimination import Elimination
from bigain_cli.classification.ranking import EvidenceMap
from bigain_cli.classification.stopping import mappable_score
from bigain_cli.registry import attribute
from bigain_cli.views import View

Weigh = Callable[[Tensor], Tensor]  # from the errors of each draw's first prompt to the weights of the draws
Map = NDArray[np.float64]  # [h w]


def equal_weights(first: Tensor) -> Tensor:
    """Weigh all draws equally: the score is the error itself."""
    return torch.ones_like(first)


def tangent(first: Tensor) -> Tensor:
    """Weigh draws as roots do near the error of the first prompt: √e ≈ √f + (e − f) / 2√f."""
    return 0.5 / first.clamp_min(torch.finfo(first.dtype).tiny).sqrt()


def relative(first: Tensor) -> Tensor:
    """Weigh draws as logarithms do near the error of the first prompt: ln e ≈ ln f + (e − f) / f."""
    return 1 / first.clamp_min(torch.finfo(first.dtype).tiny)


@dataclass(frozen=True)
class PixelErrors:
    """Splits residuals into errors per pixel; `weigh` gives the weight of a draw."""

    absolute: bool
    patch: int  # pixels along an axis that are channels of the network's input
    weigh: Weigh

    def __call__(self, residual: Tensor) -> Tensor:
        """Return each pixel's part of a row's error."""  # [b c h w] -> [b h w]
        values = residual.abs() if self.absolute else residual.square()
        return F.pixel_shuffle(values, self.patch).sum(1) / residual[0].numel()


def pixel_errors_of(score: str, patch: int) -> PixelErrors:
    """Return the pixel errors that a score takes, or refuse it."""
    info = mappable_score(score)
    return PixelErrors(info.absolute, patch, attribute(info.weigh))


class HeatmapAccumulator:
    """The sums of each job's pixel errors over a round; every draw is weighted by the error of its first prompt."""

    def __init__(
        self,
        pixel_errors: PixelErrors,
        shapes: Sequence[tuple[int, int]],
        device: torch.device,
        views: Sequence[Sequence[View]] = (),
    ) -> None:
        self._pixel_errors, self._shapes = pixel_errors, shapes  # (draws, prompts) of each job
        self._views: list[View] = []  # of each evaluation, if there are any
        for (_, prompts), taken in zip(shapes, views, strict=False):
            self._views += [view for view in taken for _ in range(prompts)]
        self._targets: list[int] = []  # the sum that each evaluation is added to
        firsts: list[int] = []  # the first evaluation of each one's draw
        count = 0
        for draws, prompts in shapes:
            for _ in range(draws):
                firsts += [len(self._targets)] * prompts
                self._targets += range(count, count + prompts)
            count += prompts
        self._firsts = torch.tensor(firsts, device=device)
        self._errors = torch.zeros(len(firsts), device=device)
        self._count, self._done, self._sums = count, 0, torch.zeros(0)

    def add(self, residual: Tensor, errors: Tensor) -> None:
        """Add the next batch; rows beyond the last evaluation are padding."""  # [b c h w], [b]
        rows = slice(self._done, min(self._done + len(residual), len(self._targets)))
        count = rows.stop - rows.start
        self._errors[rows] = errors[:count]
        maps = self._pixel_errors(residual[:count])
        maps = maps * self._pixel_errors.weigh(self._errors[self._firsts[rows]])[:, None, None]
        if not len(self._sums):
            self._sums = maps.new_zeros(self._count, *maps.shape[1:])
        if self._views:
            maps = torch.stack([_on_the_image(*each) for each in zip(maps, self._views[rows], strict=True)])
        for target, pixels in zip(self._targets[rows], maps, strict=True):  # one by one: the same order every time
            self._sums[target] += pixels
        self._done = rows.stop

    def split(self) -> list[Tensor]:
        """Return each job's sums."""  # [prompts h w] each
        return list(self._sums.split([prompts for _, prompts in self._shapes]))


def _on_the_image(pixels: Tensor, view: View) -> Tensor:
    """Add each pixel of a view to the pixel of the image that it shows; the sum stays the same.

    What is beyond the edge goes to the edge, which moved views show less often than the rest.
    """  # [h w]
    if view == View():
        return pixels
    # as products, whose order of additions is the same every time
    rows, columns = (
        F.one_hot(torch.from_numpy(places.copy()), size).to(pixels)
        for places, size in zip(view.nearest(*pixels.shape), pixels.shape, strict=True)
    )
    return rows.T @ pixels @ columns


class HeatmapSums:
    """One image's sums over all rounds, in float64; those of dropped labels are dropped."""

    def __init__(self) -> None:
        self._sums: dict[int, Map] = {}
        self._empty: Map = np.zeros(())
        self._errors: list[float] = []  # of the empty prompt

    def add(self, sums: NDArray[np.float32], errors: NDArray[np.float32], labels: Sequence[int], costs: Map) -> None:
        """Add a block: the empty prompt first, then the prompts of each label."""  # [prompts h w], [draws]
        self._empty = self._empty + sums[0]
        self._errors += errors.tolist()
        self._sums = self._with(sums, labels, costs)

    def add_labels(self, sums: NDArray[np.float32], labels: Sequence[int], costs: Map) -> None:
        """Add further labels on the draws of the first block."""
        self._sums |= self._with(sums, labels, costs)

    def _with(self, sums: NDArray[np.float32], labels: Sequence[int], costs: Map) -> dict[int, Map]:
        ends = 1 + np.cumsum(costs)
        return {
            label: self._sums.get(label, 0.0) + sums[end - cost : end].mean(axis=0, dtype=np.float64)
            for label, end, cost in zip(labels, ends, costs, strict=True)
        }

    def evidence(
        self, elimination: Elimination, asked: Sequence[int], empty_label: int | None
    ) -> tuple[EvidenceMap, ...]:
        """Compare the leader with the runner-up and with the empty prompt, which may be a label itself.

        `asked` are the numbers of the labels in the elimination.
        """
        leader, runner_up, gap = elimination.first_two()
        leading, found = self._sums[asked[leader]], []
        if runner_up is not None:
            name = None if asked[runner_up] == empty_label else elimination.labels[runner_up]
            found.append(self._evidence_map(elimination, name, self._sums[asked[runner_up]] - leading, gap))
        if empty_label is None or empty_label not in (asked[leader], None if runner_up is None else asked[runner_up]):
            gap = elimination.mean_loss(self._errors) - elimination.mean_loss_of(leader)
            found.append(self._evidence_map(elimination, None, self._empty - leading, gap))
        return tuple(each for each in found if np.isfinite(each.map).all())  # without maps that overflowed

    def _evidence_map(self, elimination: Elimination, against: str | None, summed: Map, gap: float) -> EvidenceMap:
        values = summed / elimination.draws
        remainder = 0.0 if elimination.additive else gap - float(values.sum())
        return EvidenceMap(against, gap, elimination.draws, values + remainder / values.size, remainder)
