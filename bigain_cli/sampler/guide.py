"""Classifier-free guidance: the noise predicted with the prompt, moved away from that without.

ε = ε_u + g (ε_c − ε_u). At g = 1 or 0 one of the halves is not run. Must not know schedulers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from bigain_cli.backbones.base import Backbone, Conditions
from bigain_cli.classification.denoising import repeatable
from bigain_cli.compress import Handle
from bigain_cli.noise_draws import key


@dataclass(frozen=True)
class Guide:
    """Predicts the noise of one batch, each row with its own prompt and its own operator seeds."""

    backbone: Backbone
    handle: Handle | None
    guidance: float
    told: Conditions
    untold: Conditions
    seeds: Sequence[int]

    def __call__(self, noisy: Tensor, t: Tensor, number: int) -> Tensor:
        """Return ε̂ of the batch at its step of the given number."""  # [b c h w], [b]
        seeds = torch.tensor([key(seed, b"", "operator", number) for seed in self.seeds], device=noisy.device)
        with repeatable(self.backbone):
            if self.guidance in (0, 1):
                with self.handle.seeds(seeds, torch.zeros_like(seeds)) if self.handle else nullcontext():
                    return self.backbone.noise(noisy, t, self.told if self.guidance else self.untold)
            if self.handle is None or not self.handle.shared:
                told, untold = self._at_once(noisy, t, seeds)
            else:
                told, untold = self._in_turn(self.handle, noisy, t, seeds)
        return untold + self.guidance * (told - untold)

    def _at_once(self, noisy: Tensor, t: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        both = Conditions(torch.cat([self.told.rows, self.untold.rows]))
        halves = torch.arange(2, device=seeds.device).repeat_interleave(len(seeds))
        with self.handle.seeds(seeds.repeat(2), halves) if self.handle else nullcontext():
            told, untold = self.backbone.noise(torch.cat([noisy, noisy]), t.repeat(2), both).chunk(2)
        return told, untold

    def _in_turn(self, handle: Handle, noisy: Tensor, t: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Merge the same tokens in both halves: their difference is multiplied, so it must not come from the plan."""
        with handle.seeds(seeds, torch.zeros_like(seeds)):
            with handle.record() as plans:
                untold = self.backbone.noise(noisy, t, self.untold)
            with handle.replay(plans, torch.arange(len(noisy), device=noisy.device)):
                told = self.backbone.noise(noisy, t, self.told)
        return told, untold
