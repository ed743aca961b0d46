"""The loss of a training step: the error of ε̂ for the right label, and its contrast with that of a wrong label.

The loss is the mean of ln e, so that every t counts equally: the mean of e would be dominated by small t, where e is
a hundred times larger than at large t and labels hardly matter.
A diffusion classifier compares errors. The contrast term trains that comparison: with the error e of the right label
and e′ of a wrong one on the same noise, it is softplus(−sharpness · ln(e′ / e)).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain_cli.backbones.noise_schedule import NoiseSchedule
from bigain_cli.classification.estimators import TINY
from bigain_cli.training.networks import TrainableBackbone
from bigain_cli.training.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """Everything random of one step: images, noise, times and prompts."""

    clean: Tensor  # [b c h w] in −1 … 1
    noise: Tensor  # [b c h w]
    t: Tensor  # [b]
    rows: Tensor  # [b] of the prompt table
    wrong_rows: Tensor  # [b] of other classes
    has_label: Tensor  # [b] false where the label is dropped


def draw_batch(
    pixels: Tensor, labels: Tensor, trainable: TrainableBackbone, recipe: Recipe, timesteps: int, step: int
) -> Batch:
    """Draw everything random of a step; the same seed and step always draw the same."""
    device = pixels.device
    generator = torch.Generator(device).manual_seed(recipe.seed * 1_000_003 + step)
    count = len(labels)
    uniform = torch.rand(6, count, device=device, generator=generator)
    exact = uniform[5].float() if device.type == "mps" else uniform[5].double()  # mps has no float64
    t = (exact.pow(recipe.tilt) * timesteps).long()
    clean = as_input(pixels, recipe)
    if recipe.flip:
        clean = torch.where(uniform[0, :, None, None, None] < 0.5, as_input(pixels.flip(-1), recipe), clean)
    noise = torch.randn(clean.shape, device=device, generator=generator)
    has_label = uniform[1] >= recipe.drop
    rows = torch.where(has_label, trainable.rows(labels, uniform[2]), trainable.empty)
    classes = len(trainable.row_counts)
    others = (labels + 1 + (uniform[3] * (classes - 1)).long().clamp(max=classes - 2)) % classes
    return Batch(clean, noise, t, rows, trainable.rows(others, uniform[4]), has_label)


def as_input(pixels: Tensor, recipe: Recipe) -> Tensor:
    """Return uint8 images as the network takes them; a U-Net gets every patch as one position."""
    values = pixels.float() / 127.5 - 1
    return F.pixel_unshuffle(values, recipe.patch) if recipe.arch == "unet" else values


@dataclass(frozen=True)
class Losses:
    """The losses of a step: `total` is minimised, the others are reported."""

    total: Tensor
    error: Tensor
    contrast: Tensor


def compute_losses(
    trainable: TrainableBackbone, batch: Batch, schedule: NoiseSchedule, recipe: Recipe, with_contrast: bool
) -> Losses:
    """Return the loss, the mean error of ε̂ and the contrast term; without it, wrong labels are not run."""
    noisy = schedule.mix(batch.clean, batch.noise, batch.t)
    if not with_contrast:
        right = mean_square_errors(trainable(noisy, batch.t, batch.rows), batch.noise)
        return Losses(_mean_log(right), right.mean(), right.new_zeros(()))
    output = trainable(noisy.repeat(2, 1, 1, 1), batch.t.repeat(2), torch.cat([batch.rows, batch.wrong_rows]))
    right, wrong = mean_square_errors(output, batch.noise.repeat(2, 1, 1, 1)).chunk(2)
    terms = F.softplus(-recipe.sharpness * (wrong.log() - right.log()))
    has_label = batch.has_label.float()
    contrast = (terms * has_label).sum() / has_label.sum().clamp(min=1)
    return Losses(_mean_log(right) + recipe.contrast * contrast, right.mean(), contrast)


def _mean_log(errors: Tensor) -> Tensor:
    return errors.clamp(min=TINY).log().mean()


def mean_square_errors(output: Tensor, noise: Tensor) -> Tensor:
    """Return the mean squared error of each image, in float32."""  # [b]
    return (output.float() - noise).square().mean(dim=(1, 2, 3))
