"""Error tables of closed-form mixtures: the errors of a perfect network, computed without batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from PIL.Image import new as new_image
from torch import Tensor

from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.gaussian_mixture import GaussianMixture
from bigain_cli.classification.elimination import Elimination
from bigain_cli.classification.ranking import Ranking
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.noise_draws import Draws


def mixture(
    classes: int = 10, per_class: int = 2, spread: float = 0.5, prediction: str = "epsilon", seed: int = 0
) -> GaussianMixture:
    """Make classes whose means lie `spread` apart per pixel; 0 makes all classes equal."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(per_class, 3, 4, 4, generator=generator)
    means = base.repeat(classes, 1, 1, 1) + spread * torch.randn(classes * per_class, 3, 4, 4, generator=generator)
    owner = torch.arange(classes).repeat_interleave(per_class)
    return GaussianMixture(means, owner, {k: f"class {k}" for k in range(classes)}, sigma=0.5, prediction=prediction)


class NestedClasses(GaussianMixture):
    """Classes of one component each, whose means lie in groups of groups: siblings are close."""

    def _expected_clean(
        self, noisy: torch.Tensor, a: torch.Tensor, s: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        if bool((rows == len(self.names)).any()):
            return super()._expected_clean(noisy, a, s, rows)
        means = self.means[rows]  # the one component: no need to weigh all
        return means + a * self.sigma**2 / (a**2 * self.sigma**2 + s**2) * (noisy - a * means)

    def sample(self, classes: Tensor, seed: int = 0) -> list[tuple[str, Image]]:
        """Make an image of each class; its pixels only hold its number, by which `encode` finds it unrounded."""
        noise = torch.randn(len(classes), *self.latent_shape, generator=torch.Generator().manual_seed(seed))
        self._samples = self.means[classes] + self.sigma * noise  # [n c h w]
        numbers = range(len(classes))
        return [(str(each), new_image("RGB", (4, 4), (each % 256, each // 256, seed))) for each in numbers]

    def encode(self, image: Image) -> Tensor:
        """Return a sample."""  # [c h w]
        low, high, _ = image.getpixel((0, 0))  # type: ignore[misc]
        return self._samples[low + 256 * high]


def nested(
    sizes: Sequence[int] = (10, 10, 10), spreads: Sequence[float] = (0.8, 0.6, 0.5), seed: int = 0
) -> NestedClasses:
    """Make classes in groups of groups; each level adds a random step of its spread per pixel to the means."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.zeros(1, 3, 4, 4)
    for size, spread in zip(sizes, spreads, strict=True):
        steps = torch.randn(len(means), size, 3, 4, 4, generator=generator)
        means = (means[:, None] + spread * steps).flatten(0, 1)
    names = {number: f"class {number}" for number in range(len(means))}
    return NestedClasses(means, torch.arange(len(means)), names, sigma=1.0)


@dataclass(frozen=True)
class Tables:
    """Images sampled from a mixture, with the errors of every label on every draw."""

    clean: torch.Tensor  # [images c h w]
    errors: NDArray[np.float64]  # [images draws labels]
    times: NDArray[np.float64]  # [images draws]

    @property
    def best(self) -> NDArray[np.int64]:
        """The label with the least mean over all draws."""
        return self.errors.mean(axis=1).argmin(axis=1)


@torch.inference_mode()
def error_tables(model: GaussianMixture, images: int, draws: int, seed: int = 0, like: int | None = None) -> Tables:
    """Sample images (those of the seed `like`, if given) and measure every class on every draw."""
    generator = torch.Generator().manual_seed(seed if like is None else like)
    picked = torch.randint(len(model.means), (images,), generator=generator)
    clean = model.means[picked] + model.sigma * torch.randn(images, *model.latent_shape, generator=generator)
    labels = len(model.names)
    rows = Conditions(torch.arange(labels).repeat(draws))
    result, times = np.empty((images, draws, labels)), np.empty((images, draws))
    for number in range(images):
        found = Draws(seed, number.to_bytes(4), model.latent_shape)
        block, times[number] = found.block(0, draws), found.times(0, draws)
        t, noise = block.t.repeat_interleave(labels), block.noise.repeat_interleave(labels, 0)
        noisy = model.mix(clean[number].expand(draws * labels, -1, -1, -1), noise, t)
        residual = (model.noise(noisy, t, rows) - noise).flatten(1)
        result[number] = residual.square().mean(1).reshape(draws, labels).numpy()
    return Tables(clean, result, times)


def eliminate(errors: NDArray[np.float64], rules: StoppingRules, times: NDArray[np.float64] | None = None) -> Ranking:
    """Run the elimination on one image's error table; labels are named by their column."""
    labels = [str(column) for column in range(errors.shape[1])]
    elimination = Elimination(labels, [1] * len(labels), rules)
    while count := elimination.next_draws():
        part = slice(elimination.draws, elimination.draws + count)
        block = errors[part].copy()
        block[:, ~elimination.remaining] = np.nan
        elimination.add_errors(block, None if times is None else times[part])
    return elimination.ranking("image", {}, None, finished=True)
