"""The loss of a training step: the error of ε̂ for the right label, and its contrast with those of wrong labels.

The loss is the mean of ln e, so that every t counts equally: the mean of e would be dominated by small t, where e is
a hundred times larger than at large t and labels hardly matter.
A diffusion classifier compares errors. The contrast term trains that comparison: it is the cross-entropy of the right
label among K wrong ones on the same noise, where the logit of a label with error e is −sharpness · ln e.
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
    wrong_rows: Tensor  # [b k] of other classes
    has_label: Tensor  # [b] false where the label is dropped


def draw_batch(
    pixels: Tensor, labels: Tensor, trainable: TrainableBackbone, recipe: Recipe, timesteps: int, step: int
) -> Batch:
    """Draw everything random of a step; the same seed and step always draw the same."""
    device = pixels.device
    generator = torch.Generator(device).manual_seed(recipe.seed * 1_000_003 + step)
    count = len(labels)
    uniform = torch.rand(4, count, device=device, generator=generator)
    exact = uniform[3].float() if device.type == "mps" else uniform[3].double()  # mps has no float64
    t = (exact.pow(recipe.tilt) * timesteps).long()
    if recipe.flip:
        pixels = torch.where(uniform[0, :, None, None, None] < 0.5, pixels.flip(-1), pixels)
    if recipe.shift:
        pixels = shifted(pixels, recipe.shift, torch.rand(2, count, device=device, generator=generator))
    clean = as_input(pixels, recipe)
    noise = torch.randn(clean.shape, device=device, generator=generator)
    has_label = uniform[1] >= recipe.drop
    rows = torch.where(has_label, trainable.rows(labels, uniform[2]), trainable.empty)
    others = _other_labels(labels, len(trainable.row_counts), recipe.contrast_labels, generator)
    phrases = torch.rand(others.shape, device=device, generator=generator)
    return Batch(clean, noise, t, rows, trainable.rows(others, phrases), has_label)


def _other_labels(labels: Tensor, classes: int, count: int, generator: torch.Generator) -> Tensor:
    """Choose distinct wrong labels for each label, or all."""  # [b] -> [b k]
    order = torch.rand(len(labels), classes - 1, device=labels.device, generator=generator).argsort(dim=1)
    return (labels[:, None] + 1 + order[:, :count]) % classes


def shifted(pixels: Tensor, most: int, uniform: Tensor) -> Tensor:
    """Move each image by up to `most` pixels, as two numbers from 0 up to 1 say; what enters is its mirror image."""
    size = pixels.shape[-1]
    padded = F.pad(pixels.float(), (most,) * 4, mode="reflect").to(pixels.dtype)
    start = (uniform * (2 * most + 1)).long().clamp(max=2 * most)  # [2 b]
    y, x = start[:, :, None] + torch.arange(size, device=pixels.device)  # [b s] each
    image, channel = (torch.arange(side, device=pixels.device) for side in pixels.shape[:2])
    return padded[image[:, None, None, None], channel[:, None, None], y[:, None, :, None], x[:, None, None, :]]


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
    rows = batch.rows[:, None]
    if with_contrast:
        rows = torch.cat([rows, batch.wrong_rows], dim=1)  # [b 1+k]
    errors = mean_square_errors(trainable(noisy, batch.t, rows), batch.noise[:, None])
    right = errors[:, 0]
    if not with_contrast:
        return Losses(_mean_log(right), right.mean(), right.new_zeros(()))
    logits = -recipe.sharpness * errors.clamp(min=TINY).log()
    terms = F.cross_entropy(logits, torch.zeros_like(batch.t), reduction="none")
    has_label = batch.has_label.float()
    contrast = (terms * has_label).sum() / has_label.sum().clamp(min=1)
    return Losses(_mean_log(right) + recipe.contrast * contrast, right.mean(), contrast)


def _mean_log(errors: Tensor) -> Tensor:
    return errors.clamp(min=TINY).log().mean()


def mean_square_errors(output: Tensor, noise: Tensor) -> Tensor:
    """Return the mean squared error of each image and row, in float32."""  # [b m]
    return (output.float() - noise).square().mean(dim=(2, 3, 4))
