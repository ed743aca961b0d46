"""Error tables of closed-form mixtures: what a perfect network would measure, without the packing in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bigain_cli.backbones.mixture import Mixture
from bigain_cli.draws import Draws


def mixture(
    classes: int = 10, per_class: int = 2, spread: float = 0.5, prediction: str = "epsilon", seed: int = 0
) -> Mixture:
    """Make classes whose means lie `spread` apart per pixel; 0 makes all classes equal."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(per_class, 3, 4, 4, generator=generator)
    means = base.repeat(classes, 1, 1, 1) + spread * torch.randn(classes * per_class, 3, 4, 4, generator=generator)
    owner = torch.arange(classes).repeat_interleave(per_class)
    return Mixture(means, owner, {k: f"class {k}" for k in range(classes)}, sigma=0.5, prediction=prediction)


@dataclass(frozen=True)
class Tables:
    """Errors of many images."""

    errors: NDArray[np.float64]  # [images draws classes]
    best: NDArray[np.int64]  # [images] the label with the least mean over all draws


@torch.inference_mode()
def tables(model: Mixture, images: int, draws: int, seed: int = 0) -> Tables:
    """Sample images from the mixture and measure every class on every draw."""
    generator = torch.Generator().manual_seed(seed)
    picked = torch.randint(len(model.means), (images,), generator=generator)
    clean = model.means[picked] + model.sigma * torch.randn(images, *model.latent_shape, generator=generator)
    result = np.empty((images, draws, len(model.names)))
    for number in range(images):
        block = Draws(seed, number.to_bytes(4), model.latent_shape).block(0, draws)
        noisy = model.mix(clean[number].expand(draws, -1, -1, -1), block.noise, block.t)
        for label in range(len(model.names)):
            conditions = model.condition([f"class {label}"]).take(torch.zeros(draws, dtype=torch.int64))
            guess = model.noise(noisy, block.t, conditions)
            result[number, :, label] = (guess - block.noise).flatten(1).square().mean(1).numpy()
    return Tables(result, result.mean(axis=1).argmin(axis=1))
