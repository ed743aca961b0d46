"""The loss of a training step: the error of ε̂ for the right label, its contrast with those of wrong labels, and the
classifier on the middle block.

The loss is the mean of ln e, so that every t counts equally: the mean of e would be dominated by small t, where e is
a hundred times larger than at large t and labels hardly matter.
A diffusion classifier compares errors. The contrast term trains that comparison: it is the cross-entropy of the right
label among K wrong ones on the same noise, where the logit of a label with error e is −sharpness · ln e.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain_cli.backbones.noise_schedule import NoiseSchedule
from bigain_cli.classification.estimators import TINY
from bigain_cli.training.middle_classifier import outputs_of
from bigain_cli.training.networks import TrainableBackbone
from bigain_cli.training.noise_prediction import noise_prediction
from bigain_cli.training.recipe import Recipe

SMOOTHING = 0.1  # of the classifier's labels


@dataclass(frozen=True)
class Batch:
    """Everything random of one step: images, noise, times and prompts."""

    clean: Tensor  # [b c h w] in −1 … 1
    noise: Tensor  # [b c h w]
    t: Tensor  # [b]
    rows: Tensor  # [b] of the prompt table
    wrong_rows: Tensor  # [b k] of other classes
    has_label: Tensor  # [b] false where the label is dropped
    labels: Tensor  # [b]

    def select(self, images: slice) -> Batch:
        """Return some of the images."""
        return Batch(*(getattr(self, each.name)[images] for each in fields(self)))


def draw_batch(
    pixels: Tensor, labels: Tensor, trainable: TrainableBackbone, recipe: Recipe, timesteps: int, step: int
) -> Batch:
    """Draw everything random of a step; the same seed and step always draw the same."""
    device = pixels.device
    generator = torch.Generator(device).manual_seed(recipe.seed * 1_000_003 + step)
    count = len(labels)
    uniform = torch.rand(4, count, device=device, generator=generator)
    exact = uniform[3].float() if device.type == "mps" else uniform[3].double()  # mps has no float64
    times = exact.pow(recipe.tilt)
    compared = count if recipe.learns_classifier(step) else compared_images(recipe, count)
    times[:compared] = recipe.compare_from + times[:compared] * (recipe.compare_to - recipe.compare_from)
    t = (times * timesteps).long()
    if recipe.flip:
        pixels = torch.where(uniform[0, :, None, None, None] < 0.5, pixels.flip(-1), pixels)
    if recipe.shift:
        pixels = shifted(pixels, recipe.shift, torch.rand(2, count, device=device, generator=generator))
    clean = as_input(pixels, recipe)
    noise = torch.randn(clean.shape, device=device, generator=generator)
    has_label = uniform[1] >= recipe.drop
    rows = torch.where(has_label, trainable.rows(labels, uniform[2]), trainable.empty)
    others = _other_labels(labels, len(trainable.row_counts), recipe.contrast_labels, generator)
    if recipe.label_entry == "late":  # one sentence of each class in a step: encoding more would take a tenth of it
        phrases = torch.rand(len(trainable.row_counts), device=device, generator=generator)[others]
    else:
        phrases = torch.rand(others.shape, device=device, generator=generator)
    return Batch(clean, noise, t, rows, trainable.rows(others, phrases), has_label, labels)


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
    """The losses of a step: `total` is minimised, the others are reported; 0 where there is none."""

    total: Tensor
    error: Tensor
    contrast: Tensor
    classifier: Tensor


def compute_losses(
    trainable: TrainableBackbone, batch: Batch, schedule: NoiseSchedule, recipe: Recipe, with_contrast: bool
) -> Losses:
    """Return the loss and its parts; without the contrast, wrong labels are not run."""
    compared = compared_images(recipe, len(batch.t))
    first, others = batch.select(slice(compared)), batch.select(slice(compared, None))
    nothing = batch.noise.new_zeros(())
    errors, logits = _run(trainable, first, schedule, with_contrast)
    right, contrast = errors[:, 0], nothing
    if with_contrast:
        contrast = _contrast(errors, first.has_label.float(), recipe.sharpness)
    classifier = nothing if logits is None else _cross_entropy(logits, first.labels)
    if len(others.t):
        right = torch.cat([right, _run(trainable, others, schedule, False)[0][:, 0]])
    total = _mean_log(right) + recipe.contrast * contrast + recipe.classifier * classifier
    return Losses(total, right.mean(), contrast, classifier)


def classifier_losses(trainable: TrainableBackbone, batch: Batch, schedule: NoiseSchedule) -> Losses:
    """Return the loss of the classifier alone, of which no later block is run."""
    assert trainable.classifier is not None
    noisy = schedule.mix(batch.clean, batch.noise, batch.t)
    loss = _cross_entropy(trainable.classifier(trainable.features(noisy, batch.t)), batch.labels)
    return Losses(loss, loss.new_zeros(()), loss.new_zeros(()), loss)


def compared_images(recipe: Recipe, count: int) -> int:
    """Return how many images of a batch, its first ones, have their labels compared."""
    return math.ceil(recipe.compared * count) if recipe.contrast else count


def _run(
    trainable: TrainableBackbone, batch: Batch, schedule: NoiseSchedule, compare: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the errors of the right label, and of wrong ones to compare it with; and the classifier's logits."""
    rows = batch.rows[:, None]
    if compare:
        rows = torch.cat([rows, batch.wrong_rows], dim=1)  # [b 1+k]
    predict, noisy = noise_prediction(trainable, schedule), schedule.mix(batch.clean, batch.noise, batch.t)
    classifier = trainable.classifier
    watched: AbstractContextManager[list[Tensor]] = nullcontext([])
    if classifier is not None:
        watched = outputs_of(trainable.feature_block())
    with watched as outputs:
        errors = mean_square_errors(predict(noisy, batch.t, rows), batch.noise[:, None])
    return errors, None if classifier is None else classifier(outputs[0])


def _contrast(errors: Tensor, has_label: Tensor, sharpness: float) -> Tensor:
    """Return the cross-entropy of the right label, the first, among all; images without a label do not count."""
    logits = -sharpness * errors.clamp(min=TINY).log()
    right = torch.zeros(len(errors), dtype=torch.int64, device=errors.device)
    terms = F.cross_entropy(logits, right, reduction="none")
    return (terms * has_label).sum() / has_label.sum().clamp(min=1)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)


def _mean_log(errors: Tensor) -> Tensor:
    return errors.clamp(min=TINY).log().mean()


def mean_square_errors(output: Tensor, noise: Tensor) -> Tensor:
    """Return the mean squared error of each image and row, in float32."""  # [b m]
    return (output.float() - noise).square().mean(dim=(2, 3, 4))
