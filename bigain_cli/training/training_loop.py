"""The training loop: a stream of steps, and checkpoints from which it continues to the same weights.

All randomness depends on the seed and the step, so a checkpoint holds no generators. Never prints, never writes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bigain_cli.backbones.noise_schedule import NoiseSchedule
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.training.checkpoint import Checkpoint
from bigain_cli.training.image_tensors import LabelledImages
from bigain_cli.training.loss import Batch, Losses, classifier_losses, compute_losses, draw_batch
from bigain_cli.training.networks import TrainableBackbone
from bigain_cli.training.optimiser import TrainingOptimiser
from bigain_cli.training.recipe import Recipe, differences

SYNC_EVERY = 50  # steps between reads from the device: each waits for it
MAX_GRADIENT_NORM = 1.0
CHECK_EVERY = 100  # steps between checks that the gradient is finite


@dataclass(frozen=True)
class Step:
    """The losses of one step, still on the device."""

    number: int  # counted from 1
    error: Tensor
    contrast: Tensor
    classifier: Tensor
    rate: float


class Training:
    """A network in training, with the average of its weights, its optimiser and the images."""

    def __init__(
        self,
        recipe: Recipe,
        trainable: TrainableBackbone,
        schedule: NoiseSchedule,
        images: LabelledImages,
        device: torch.device,
        words: dict[str, Any],
        start: dict[str, Any] | None = None,
    ) -> None:
        self.recipe, self.schedule, self.device = recipe, schedule, device
        self.words, self.start = words, start  # as in `Checkpoint`
        hint = "The images and the network do not fit: fewer images, or a smaller --size or --width."
        with self._explain_out_of_memory(hint):
            self.trainable = trainable.to(device)
            self.pixels, self.labels = images.pixels.to(device), images.labels.to(device)
        self.data = images.digest()
        self.step, self.seconds = 0, 0.0
        self.names = [name for name, _ in trainable.named_parameters()]
        self.weights = list(trainable.parameters())
        self.average = [weight.detach().clone() for weight in self.weights]
        self.optimiser = TrainingOptimiser(recipe, trainable, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        self._order: tuple[int, Tensor] | None = None

    def run(self) -> Iterator[Step]:
        """Take the remaining steps, one at a time."""
        while self.step < self.recipe.steps:
            started = time.monotonic()
            with self._explain_out_of_memory("Lower --batch, or --width, or --size."):
                step = self._take_step()
            if step.number % SYNC_EVERY == 0 or step.number == self.recipe.steps:
                step.error.item()  # waits for the device, so that the time of queued work counts
            self.seconds += time.monotonic() - started
            yield step

    def checkpoint(self) -> Checkpoint:
        """Return everything needed to continue, on the CPU; refuse weights that are not finite."""
        if not all(bool(torch.isfinite(weight).all()) for weight in self.weights):
            raise BigainError(f"step {self.step}", "the weights are not finite", "Lower --rate, or use float32.")
        tensors = self._weight_tensors() | self.optimiser.moments()
        for key, value in self.scaler.state_dict().items():
            tensors[f"scaler.{key}"] = torch.tensor(value, dtype=torch.float64)
        copies = {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        return Checkpoint(copies, self.step, self.recipe.to_dict(), self.data, self.seconds, self.words, self.start)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint; refuse one of another recipe, of other images or of other words."""
        hint = "Give the same ones, or start again with --force."
        before = vars(Recipe()) | checkpoint.recipe  # an earlier version may have known fewer keys
        if changes := differences(before, self.recipe.to_dict()):
            why = f"the checkpoint was made with other settings ({'; '.join(changes)})"
            raise UsageError("--resume", why, hint)
        if checkpoint.data != self.data:
            same_data = "Give the same data, the same --held-out too, or start again with --force."
            raise UsageError("--resume", "the checkpoint was made on other images", same_data)
        if checkpoint.words not in ({}, self.words):
            raise UsageError("--resume", "the checkpoint was made with other --synonyms, --template or --from", hint)
        self._restore_weights(checkpoint.tensors)
        self._restore_moments(checkpoint.tensors)
        self.step, self.seconds = checkpoint.step, checkpoint.seconds

    def averaged(self) -> dict[str, Tensor]:
        """Return the averaged weights by name."""
        return dict(zip(self.names, self.average, strict=True))

    def _weight_tensors(self) -> dict[str, Tensor]:
        """Return the weights and their average, by their keys in a checkpoint."""
        weights = {f"weight.{name}": weight.detach() for name, weight in zip(self.names, self.weights, strict=True)}
        return weights | {f"average.{name}": mean for name, mean in self.averaged().items()}

    def _restore_weights(self, tensors: dict[str, Tensor]) -> None:
        """Copy the weights and their average; refuse other shapes, which another version of diffusers may have."""
        targets = self._weight_tensors()
        for key, target in targets.items():
            if key not in tensors or tensors[key].shape != target.shape:
                raise UsageError("--resume", f"the checkpoint's {key} is not this network's", "Use --force.")
        for key, target in targets.items():
            target.copy_(tensors[key])

    def _restore_moments(self, tensors: dict[str, Tensor]) -> None:
        self.optimiser.restore(tensors, self.device)
        scaler: dict[str, Any] = {
            key: type(value)(tensors[f"scaler.{key}"].item()) for key, value in self.scaler.state_dict().items()
        }
        if scaler:
            self.scaler.load_state_dict(scaler)

    def _take_step(self) -> Step:
        recipe = self.recipe
        rate = recipe.rate_at(self.step)
        self.optimiser.set_rate(rate / recipe.rate, 1.0 if recipe.learns_classifier(self.step) else recipe.shared_rate)
        index = self._batch_index()
        pixels, labels = self.pixels[index], self.labels[index]
        batch = draw_batch(pixels, labels, self.trainable, recipe, len(self.schedule), self.step)
        with self._autocast():
            loss = self._losses(batch)
        self.scaler.scale(loss.total).backward()
        if recipe.learns_classifier(self.step):
            self._keep_gradients_of(self.trainable.shared_weights())
        self.optimiser.unscale(self.scaler)
        norm = torch.nn.utils.clip_grad_norm_(self.weights, MAX_GRADIENT_NORM)
        self.optimiser.step(self.scaler)
        self.scaler.update()
        self.optimiser.zero_grad()
        torch._foreach_lerp_(self.average, [weight.detach() for weight in self.weights], 1 - recipe.ema_at(self.step))
        self.step += 1
        self._check_finite(norm)
        return Step(self.step, loss.error.detach(), loss.contrast.detach(), loss.classifier.detach(), rate)

    def _keep_gradients_of(self, weights: list[Tensor]) -> None:
        kept = {id(weight) for weight in weights}
        for weight in self.weights:
            if id(weight) not in kept:
                weight.grad = None

    def _losses(self, batch: Batch) -> Losses:
        recipe = self.recipe
        if recipe.learns_classifier(self.step):
            return classifier_losses(self.trainable, batch, self.schedule)
        return compute_losses(self.trainable, batch, self.schedule, recipe, recipe.uses_contrast(self.step))

    @contextmanager
    def _explain_out_of_memory(self, hint: str) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as problem:
            raise BigainError(f"the memory of {self.device}", "is too small for this training", hint) from problem

    def _check_finite(self, norm: Tensor) -> None:
        """Stop when the gradient has overflowed; checked rarely, because reading waits for the device."""
        if self.step % CHECK_EVERY:
            return
        # In float16 the scaler skips steps that overflow, and lowers its scale at each.
        overflowed = self.scaler.get_scale() < 1 if self.scaler.is_enabled() else not torch.isfinite(norm)
        if overflowed:
            raise BigainError(f"step {self.step}", "the gradient is not finite", "Lower --rate, or use float32.")

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = getattr(torch, self.recipe.precision)
        return nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype)

    def _batch_index(self) -> Tensor:
        """Return the indices of the step's images: every image comes once before any comes twice."""
        count, first, missing = len(self.labels), self.step * self.recipe.batch, self.recipe.batch
        parts = []
        while missing:
            epoch, place = divmod(first, count)
            parts.append(self._epoch_order(epoch)[place : place + missing])
            first, missing = first + len(parts[-1]), missing - len(parts[-1])
        return torch.cat(parts)

    def _epoch_order(self, number: int) -> Tensor:
        """Return a random order of all images, on the device."""
        if self._order is None or self._order[0] != number:
            generator = torch.Generator().manual_seed(self.recipe.seed * 7_919 + number + 1)
            self._order = number, torch.randperm(len(self.labels), generator=generator).to(self.device)
        return self._order[1]
