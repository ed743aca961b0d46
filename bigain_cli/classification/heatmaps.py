"""Heatmaps: where in the image the evidence lies, from per-pixel errors added up over draws.

Pixel errors of a round first, then the running sums of one image, then the maps that its ranking carries.
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

Weigh = Callable[[Tensor], Tensor]


def equal_weights(first: Tensor) -> Tensor:
    """Weigh all draws alike: the score is the error itself."""
    return torch.ones_like(first)


def tangent(first: Tensor) -> Tensor:
    """Weigh draws as roots do near the error of the first prompt: √e ≈ √f + (e − f) / 2√f."""
    return 0.5 / first.clamp_min(torch.finfo(first.dtype).tiny).sqrt()


def relative(first: Tensor) -> Tensor:
    """Weigh draws as logarithms do near the error of the first prompt: ln e ≈ ln f + (e − f) / f."""
    return 1 / first.clamp_min(torch.finfo(first.dtype).tiny)


@dataclass(frozen=True)
class PixelErrors:
    """How a residual is split over pixels, and what a draw weighs."""

    absolute: bool
    patch: int  # of pixels in the channels of the network's input
    weigh: Weigh

    def __call__(self, residual: Tensor) -> Tensor:
        """Return what each pixel adds to a row's error."""  # [b c h w] -> [b h w]
        values = residual.abs() if self.absolute else residual.square()
        return F.pixel_shuffle(values, self.patch).sum(1) / residual[0].numel()


class HeatmapAccumulator:
    """The maps of a round; every draw's first prompt gives the draw its weight."""

    def __init__(self, pixel_errors: PixelErrors, shapes: Sequence[tuple[int, int]], device: torch.device) -> None:
        self._pixel_errors, self._shapes = pixel_errors, shapes  # (draws, prompts) of each job
        self._slots: list[int] = []  # where each evaluation is added
        leads: list[int] = []  # the first evaluation of each one's draw
        first = 0
        for draws, prompts in shapes:
            for _ in range(draws):
                leads += [len(self._slots)] * prompts
                self._slots += range(first, first + prompts)
            first += prompts
        self._leads = torch.tensor(leads, device=device)
        self._errors = torch.zeros(len(leads), device=device)
        self._count, self._done, self._totals = first, 0, torch.zeros(0)

    def add(self, residual: Tensor, errors: Tensor) -> None:
        """Add the next batch; rows beyond the last evaluation only fill it up."""  # [b c h w], [b]
        rows = slice(self._done, min(self._done + len(residual), len(self._slots)))
        count = rows.stop - rows.start
        self._errors[rows] = errors[:count]
        maps = self._pixel_errors(residual[:count])
        maps = maps * self._pixel_errors.weigh(self._errors[self._leads[rows]])[:, None, None]
        if not len(self._totals):
            self._totals = maps.new_zeros(self._count, *maps.shape[1:])
        for slot, pixels in zip(self._slots[rows], maps, strict=True):  # one by one: the same order every time
            self._totals[slot] += pixels
        self._done = rows.stop

    def split(self) -> list[Tensor]:
        """Return each job's sums."""  # [prompts h w] each
        return list(self._totals.split([prompts for _, prompts in self._shapes]))


Map = NDArray[np.float64]  # [h w]


class HeatmapSums:
    """Running sums in float64; those of dropped labels are dropped."""

    def __init__(self) -> None:
        self._sums: dict[int, Map] = {}
        self._empty: Map = np.zeros(())
        self._errors: list[float] = []  # of the empty prompt

    def add(self, sums: NDArray[np.float32], errors: NDArray[np.float32], labels: Sequence[int], costs: Map) -> None:
        """Take a block: the empty prompt first, then the prompts of each label."""  # [prompts h w], [draws]
        self._empty = self._empty + sums[0]
        self._errors += errors.tolist()
        ends = 1 + np.cumsum(costs)
        self._sums = {
            label: self._sums.get(label, 0.0) + sums[end - cost : end].mean(axis=0, dtype=np.float64)
            for label, end, cost in zip(labels, ends, costs, strict=True)
        }

    def evidence(self, elimination: Elimination, empty: int | None) -> tuple[EvidenceMap, ...]:
        """Compare the winner with the runner-up and with the empty prompt, which may be a label itself."""
        winner, second, gap = elimination.first_two()
        found = []
        if second is not None:
            name = None if second == empty else elimination.labels[second]
            found.append(self._compared(elimination, name, self._sums[second], self._sums[winner], gap))
        if empty is None or empty not in (winner, second):
            gap = elimination.mean_loss(self._errors) - elimination.mean_loss_of(winner)
            found.append(self._compared(elimination, None, self._empty, self._sums[winner], gap))
        return tuple(each for each in found if np.isfinite(each.map).all())  # a map that overflowed shows nothing

    def _compared(
        self, elimination: Elimination, against: str | None, loser: Map, winner: Map, gap: float
    ) -> EvidenceMap:
        shares = (loser - winner) / elimination.draws
        if elimination.additive:
            return EvidenceMap(against, gap, elimination.draws, shares)
        remainder = gap - float(shares.sum())
        return EvidenceMap(against, gap, elimination.draws, shares + remainder / shares.size, remainder)
