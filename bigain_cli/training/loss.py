"""What a training step minimises: the error of ε̂ for the right label, and how well it shows which label is right.

The loss is the mean of ln e, so that every time counts alike: the mean of e would be that of the clean end, where e is
a hundred times what it is at the noisy end and labels hardly matter.
A classifier by diffusion compares errors. The contrast term trains that comparison: with the right label's error e and
a wrong one's e′ on the same noise, it is softplus(−sharpness · ln(e′ / e)).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain_cli.backbones.base import NoiseSchedule
from bigain_cli.classification.estimators import TINY
from bigain_cli.training.networks import TrainableBackbone
from bigain_cli.training.recipe import Recipe


@dataclass(frozen=True)
class Sample:
    """One step's batch: what is trained on, how noisy, and as what."""

    clean: Tensor  # [b c h w] in −1 … 1
    noise: Tensor  # [b c h w]
    t: Tensor  # [b]
    rows: Tensor  # [b] of the prompt table
    wrong: Tensor  # [b] rows of other classes
    label_shown: Tensor  # [b] whether the network was given the label


def draw(pixels: Tensor, labels: Tensor, trainable: TrainableBackbone, recipe: Recipe, steps: int, step: int) -> Sample:
    """Draw everything random of a step; the same (seed, step) always draws the same."""
    device = pixels.device
    generator = torch.Generator(device).manual_seed(recipe.seed * 1_000_003 + step)
    count = len(labels)
    chance = torch.rand(6, count, device=device, generator=generator)
    exact = chance[5].float() if device.type == "mps" else chance[5].double()  # mps has no float64
    t = (exact.pow(recipe.tilt) * steps).long()
    clean = as_input(pixels, recipe)
    if recipe.flip:
        clean = torch.where(chance[0, :, None, None, None] < 0.5, as_input(pixels.flip(-1), recipe), clean)
    noise = torch.randn(clean.shape, device=device, generator=generator)
    label_shown = chance[1] >= recipe.drop
    rows = torch.where(label_shown, trainable.rows(labels, chance[2]), trainable.empty)
    classes = len(trainable.variants)
    others = (labels + 1 + (chance[3] * (classes - 1)).long().clamp(max=classes - 2)) % classes
    return Sample(clean, noise, t, rows, trainable.rows(others, chance[4]), label_shown)


def as_input(pixels: Tensor, recipe: Recipe) -> Tensor:
    """Return eight-bit images as the network takes them; a U-Net gets every patch as one place."""
    values = pixels.float() / 127.5 - 1
    return F.pixel_unshuffle(values, recipe.patch) if recipe.arch == "unet" else values


@dataclass(frozen=True)
class Losses:
    """The losses of a step: `total` is to be minimised, the others are reported."""

    total: Tensor
    error: Tensor
    contrast: Tensor


def losses(
    trainable: TrainableBackbone, sample: Sample, process: NoiseSchedule, recipe: Recipe, contrasted: bool
) -> Losses:
    """Return the loss, the mean error of ε̂ and the contrast term; without contrast, wrong labels are not run."""
    noisy = process.mix(sample.clean, sample.noise, sample.t)
    if not contrasted:
        right = errors(trainable(noisy, sample.t, sample.rows), sample.noise)
        return Losses(_balanced(right), right.mean(), right.new_zeros(()))
    twice = (torch.cat([each, each]) for each in (noisy, sample.t))
    output = trainable(*twice, torch.cat([sample.rows, sample.wrong]))
    right, wrong = errors(output, torch.cat([sample.noise, sample.noise])).chunk(2)
    comparison = F.softplus(-recipe.sharpness * (wrong.log() - right.log()))
    counted = sample.label_shown.float()
    contrast = (comparison * counted).sum() / counted.sum().clamp(min=1)
    return Losses(_balanced(right) + recipe.contrast * contrast, right.mean(), contrast)


def _balanced(errors: Tensor) -> Tensor:
    return errors.clamp(min=TINY).log().mean()


def errors(output: Tensor, noise: Tensor) -> Tensor:
    """Return the mean square of each residual, in float32."""  # [b]
    return (output.float() - noise).square().mean(dim=(1, 2, 3))
