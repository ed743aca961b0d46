"""The training itself: a stream of steps, and a state that can be saved and continued from to the same weights.

All randomness is keyed by the seed and the step, so a state holds no generators. Never prints, never writes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bigain_cli.backbones.base import NoiseSchedule
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.training.checkpoint import State
from bigain_cli.training.image_tensors import LabelledImages
from bigain_cli.training.loss import draw, losses
from bigain_cli.training.networks import TrainableBackbone
from bigain_cli.training.recipe import Recipe, differences

SYNC_EVERY = 50  # steps between reads from the device: each waits for it
CLIP = 1.0  # the largest norm of a step's gradient


@dataclass(frozen=True)
class Step:
    """The losses of one step, still on the device."""

    number: int  # steps done, this one included
    error: Tensor
    contrast: Tensor
    rate: float


class Training:
    """A trainable, its average and its optimiser, going through the images."""

    def __init__(
        self,
        recipe: Recipe,
        trainable: TrainableBackbone,
        process: NoiseSchedule,
        images: LabelledImages,
        device: torch.device,
        words: dict[str, Any],
        start: dict[str, Any] | None = None,
    ) -> None:
        self.start = start  # whose weights it started from
        self.recipe, self.process, self.device, self.words = recipe, process, device, words
        with self._fitting("The images and the network do not fit: fewer images, or a smaller --size or --width."):
            self.trainable = trainable.to(device)
            self.pixels, self.labels = images.pixels.to(device), images.labels.to(device)
        self.data = digest(images)
        self.step, self.seconds = 0, 0.0
        self.names = [name for name, _ in trainable.named_parameters()]
        self.weights = list(trainable.parameters())
        self.average = [weight.detach().clone() for weight in self.weights]
        self.optimiser = torch.optim.AdamW(
            self.weights, lr=recipe.rate, betas=(0.9, 0.99), weight_decay=recipe.decay, fused=device.type != "mps"
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        self._order: tuple[int, Tensor] | None = None

    def run(self) -> Iterator[Step]:
        """Take the steps that are left, one at a time."""
        while self.step < self.recipe.steps:
            started = time.monotonic()
            with self._fitting("Lower --batch, or --width, or --size."):
                step = self._advance()
            if step.number % SYNC_EVERY == 0 or step.number == self.recipe.steps:
                step.error.item()  # waits, so that the time of what was queued counts here
            self.seconds += time.monotonic() - started
            yield step

    def state(self) -> State:
        """Return everything it takes to continue, on the CPU; refuse weights that are not finite."""
        if not all(bool(torch.isfinite(weight).all()) for weight in self.weights):
            raise BigainError(f"step {self.step}", "the weights are not finite", "Lower --rate, or use float32.")
        tensors = {f"weight.{name}": weight.detach() for name, weight in zip(self.names, self.weights, strict=True)}
        tensors |= {f"average.{name}": mean for name, mean in zip(self.names, self.average, strict=True)}
        for name, weight in zip(self.names, self.weights, strict=True):
            for key, value in self.optimiser.state.get(weight, {}).items():
                tensors[f"{key}.{name}"] = torch.as_tensor(value)
        for key, value in self.scaler.state_dict().items():
            tensors[f"scaler.{key}"] = torch.tensor(value, dtype=torch.float64)
        kept = {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        return State(kept, self.step, self.recipe.to_dict(), self.data, self.seconds, self.words, self.start)

    def restore(self, state: State) -> None:
        """Go back to a saved state; refuse one of another recipe or of other images."""
        if found := differences(state.recipe, self.recipe.to_dict()):
            why = f"the checkpoint was made with other settings ({'; '.join(found)})"
            raise UsageError("--resume", why, "Give the same ones, or start again with --force.")
        if state.data != self.data:
            hint = "Give the same data, the same --held-out too, or start again with --force."
            raise UsageError("--resume", "the checkpoint was made on other images", hint)
        if state.words not in ({}, self.words):
            hint = "Give the same ones, or start again with --force."
            raise UsageError("--resume", "the checkpoint was made with other --synonyms, --template or --from", hint)
        self._refuse_others(state.tensors)
        with torch.no_grad():
            for name, weight, mean in zip(self.names, self.weights, self.average, strict=True):
                weight.copy_(state.tensors[f"weight.{name}"])
                mean.copy_(state.tensors[f"average.{name}"])
        self._restore_moments(state.tensors)
        self.step, self.seconds = state.step, state.seconds

    def _refuse_others(self, tensors: dict[str, Tensor]) -> None:
        """Refuse tensors that are not of these shapes, which other versions of the libraries may have."""
        for name, weight in zip(self.names, self.weights, strict=True):
            for key in (f"weight.{name}", f"average.{name}"):
                if key not in tensors or tensors[key].shape != weight.shape:
                    raise UsageError("--resume", f"the checkpoint's {key} is not this network's", "Use --force.")

    def averaged(self) -> dict[str, Tensor]:
        """Return the averaged weights by name."""
        return dict(zip(self.names, self.average, strict=True))

    def _restore_moments(self, tensors: dict[str, Tensor]) -> None:
        for name, weight in zip(self.names, self.weights, strict=True):
            keys = ("step", "exp_avg", "exp_avg_sq")
            if all(f"{key}.{name}" in tensors for key in keys):
                self.optimiser.state[weight] = {
                    key: tensors[f"{key}.{name}"].to(self.device, copy=True) for key in keys
                }
        scaler: dict[str, Any] = {
            key: type(value)(tensors[f"scaler.{key}"].item()) for key, value in self.scaler.state_dict().items()
        }
        if scaler:
            self.scaler.load_state_dict(scaler)

    def _advance(self) -> Step:
        recipe = self.recipe
        rate = recipe.rate_at(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        chosen = self._chosen()
        sample = draw(self.pixels[chosen], self.labels[chosen], self.trainable, recipe, len(self.process), self.step)
        with self._precision():
            loss = losses(self.trainable, sample, self.process, recipe, recipe.contrasts(self.step))
        self.scaler.scale(loss.total).backward()
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.weights, CLIP)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        torch._foreach_lerp_(self.average, [weight.detach() for weight in self.weights], 1 - recipe.ema_at(self.step))
        self.step += 1
        self._check_finite(norm)
        return Step(self.step, loss.error.detach(), loss.contrast.detach(), rate)

    @contextmanager
    def _fitting(self, hint: str) -> Iterator[None]:
        """Explain that memory ran out."""
        try:
            yield
        except torch.OutOfMemoryError as problem:
            raise BigainError(f"the memory of {self.device}", "is too small for this training", hint) from problem

    def _check_finite(self, norm: Tensor) -> None:
        """Stop when the weights are lost; checked now and then, because reading waits for the device."""
        if self.step % 100:
            return
        lost = self.scaler.get_scale() < 1 if self.scaler.is_enabled() else not torch.isfinite(norm)
        if lost:  # float16 skips steps that overflow, and lowers its scale at each
            raise BigainError(f"step {self.step}", "the gradient is not finite", "Lower --rate, or use float32.")

    def _precision(self) -> AbstractContextManager[Any]:
        kind = getattr(torch, self.recipe.precision)
        return nullcontext() if kind == torch.float32 else torch.autocast(self.device.type, kind)

    def _chosen(self) -> Tensor:
        """Return the step's images: every one comes once before any comes twice."""
        count, batch = len(self.labels), self.recipe.batch
        places = range(self.step * batch, (self.step + 1) * batch)
        return torch.stack([self._epoch(place // count)[place % count] for place in places]).to(self.device)

    def _epoch(self, number: int) -> Tensor:
        if self._order is None or self._order[0] != number:
            generator = torch.Generator().manual_seed(self.recipe.seed * 7_919 + number + 1)
            self._order = number, torch.randperm(len(self.labels), generator=generator)
        return self._order[1]


def digest(images: LabelledImages) -> str:
    """Identify images by their content."""
    found = hashlib.blake2b(digest_size=8)
    for tensor in (images.pixels, images.labels):
        found.update(tensor.numpy().tobytes())
    found.update("\n".join(images.classes).encode())
    return found.hexdigest()
