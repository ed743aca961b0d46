"""Heatmaps: where in the image the evidence lies, from per-pixel errors added up over draws.

Pixel errors of a round first, then the running sums of one image, then the maps that its ranking carries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Weigh = Callable[[Tensor], Tensor]


def plain(first: Tensor) -> Tensor:
    """Weigh all draws alike: the score is the error itself."""
    return torch.ones_like(first)


def tangent(first: Tensor) -> Tensor:
    """Weigh draws as roots do near the error of the first prompt: √e ≈ √f + (e − f) / 2√f."""
    return 0.5 / first.clamp_min(torch.finfo(first.dtype).tiny).sqrt()


def relative(first: Tensor) -> Tensor:
    """Weigh draws as logarithms do near the error of the first prompt: ln e ≈ ln f + (e − f) / f."""
    return 1 / first.clamp_min(torch.finfo(first.dtype).tiny)


@dataclass(frozen=True)
class Lens:
    """How a residual is split over pixels, and what a draw weighs."""

    absolute: bool
    patch: int  # of pixels in the channels of the network's input
    weigh: Weigh

    def __call__(self, residual: Tensor) -> Tensor:
        """Return what each pixel adds to a row's error."""  # [b c h w] -> [b h w]
        values = residual.abs() if self.absolute else residual.square()
        return F.pixel_shuffle(values, self.patch).sum(1) / residual[0].numel()


class Sums:
    """The maps of a round; every draw's first prompt gives the draw its weight."""

    def __init__(self, pixel_errors: Lens, shapes: Sequence[tuple[int, int]], device: torch.device) -> None:
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
