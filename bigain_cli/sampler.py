"""From prompts to pictures in a backbone's own space: the same `noise` that classifies, stepped down by DDIM.

Picture i depends on its prompt and its seed alone. Never prints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bigain_cli.backbones.base import Backbone, Conditions


@torch.inference_mode()
def sample(backbone: Backbone, prompts: Sequence[str], seeds: Sequence[int], steps: int, guidance: float) -> Tensor:
    """Return clean latents, one for each prompt."""  # [b c h w]
    length = backbone.steps[1]
    latents = torch.stack([_start(backbone, seed) for seed in seeds])
    told = backbone.condition(prompts)
    both = Conditions(torch.cat([told.rows, backbone.condition([""] * len(prompts)).rows]))
    times = torch.linspace(length - 1, 0, steps, device=backbone.device).round().long()
    for here, after in zip(times.tolist(), [*times[1:].tolist(), -1], strict=True):
        latents = _down(backbone, latents, both, here, after, guidance)
    return latents


def _start(backbone: Backbone, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(backbone.latent_shape, generator=generator).to(backbone.device)


def _down(backbone: Backbone, latents: Tensor, both: Conditions, here: int, after: int, guidance: float) -> Tensor:
    """Take one deterministic step from time `here` to `after` (−1: no noise)."""
    t = torch.full((2 * len(latents),), here, device=latents.device)
    told, untold = backbone.noise(torch.cat([latents, latents]), t, both).chunk(2)
    noise = untold + guidance * (told - untold)
    unit = torch.ones_like(latents[:1])
    a, s = (backbone.mix(*pair, t[:1]) for pair in ((unit, 0 * unit), (0 * unit, unit)))
    clean = ((latents - s * noise) / a).clamp(-1, 1)
    noise = (latents - a * clean) / s
    return clean if after < 0 else backbone.mix(clean, noise, torch.full_like(t[: len(latents)], after))
