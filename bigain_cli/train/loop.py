"""The training itself: a stream of steps, and a state that can be saved and taken up again to the same weights.

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

from bigain_cli.backbones.base import Process
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.train.checkpoint import State
from bigain_cli.train.networks import Learner
from bigain_cli.train.objective import draw, losses
from bigain_cli.train.pictures import Pictures
from bigain_cli.train.recipe import Recipe, differences

LOOK = 50  # steps between looks at the device: each waits for it
CLIP = 1.0  # the largest norm of a step's gradient


@dataclass(frozen=True)
class Step:
    """What one step saw: losses stay on the device until somebody looks."""

    number: int  # steps done, this one included
    error: Tensor
    contrast: Tensor
    rate: float


class Training:
    """A learner, its average and its optimiser, going through the pictures."""

    def __init__(
        self,
        recipe: Recipe,
        learner: Learner,
        process: Process,
        pictures: Pictures,
        device: torch.device,
        words: dict[str, Any],
        start: dict[str, Any] | None = None,
    ) -> None:
        self.start = start  # whose weights it began from
        self.recipe, self.process, self.device, self.words = recipe, process, device, words
        with self._fitting("The pictures and the network do not fit: fewer pictures, or a smaller --size or --width."):
            self.learner = learner.to(device)
            self.pixels, self.labels = pictures.pixels.to(device), pictures.labels.to(device)
        self.data = digest(pictures)
        self.step, self.seconds = 0, 0.0
        self.names = [name for name, _ in learner.named_parameters()]
        self.weights = list(learner.parameters())
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
            if step.number % LOOK == 0 or step.number == self.recipe.steps:
                step.error.item()  # waits, so that the time of what was queued counts here
            self.seconds += time.monotonic() - started
            yield step

    def state(self) -> State:
        """Return everything that going on takes, on the CPU; refuse weights that are lost."""
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
        """Go back to a saved state; refuse one of another recipe or of other pictures."""
        if found := differences(state.recipe, self.recipe.to_dict()):
            why = f"the checkpoint was made with other settings ({'; '.join(found)})"
            raise UsageError("--resume", why, "Give the same ones, or begin anew with --force.")
        if state.data != self.data:
            hint = "Give the same data, the same --held-out too, or begin anew with --force."
            raise UsageError("--resume", "the checkpoint was made on other pictures", hint)
        if state.words not in ({}, self.words):
            hint = "Give the same ones, or begin anew with --force."
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
        sample = draw(self.pixels[chosen], self.labels[chosen], self.learner, recipe, len(self.process), self.step)
        with self._precision():
            seen = losses(self.learner, sample, self.process, recipe, recipe.contrasts(self.step))
        self.scaler.scale(seen.total).backward()
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.weights, CLIP)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        torch._foreach_lerp_(self.average, [weight.detach() for weight in self.weights], 1 - recipe.ema_at(self.step))
        self.step += 1
        self._watch(norm)
        return Step(self.step, seen.error.detach(), seen.contrast.detach(), rate)

    @contextmanager
    def _fitting(self, hint: str) -> Iterator[None]:
        """Explain that memory ran out."""
        try:
            yield
        except torch.OutOfMemoryError as problem:
            raise BigainError(f"the memory of {self.device}", "is too small for this training", hint) from problem

    def _watch(self, norm: Tensor) -> None:
        """Stop at once when the weights are lost; looked at now and then, because looking waits for the device."""
        if self.step % 100:
            return
        lost = self.scaler.get_scale() < 1 if self.scaler.is_enabled() else not torch.isfinite(norm)
        if lost:  # float16 skips steps that overflow, and lowers its scale at each
            raise BigainError(f"step {self.step}", "the gradient is not finite", "Lower --rate, or use float32.")

    def _precision(self) -> AbstractContextManager[Any]:
        kind = getattr(torch, self.recipe.precision)
        return nullcontext() if kind == torch.float32 else torch.autocast(self.device.type, kind)

    def _chosen(self) -> Tensor:
        """Return the step's pictures: every one comes once before any comes twice."""
        count, batch = len(self.labels), self.recipe.batch
        places = range(self.step * batch, (self.step + 1) * batch)
        return torch.stack([self._epoch(place // count)[place % count] for place in places]).to(self.device)

    def _epoch(self, number: int) -> Tensor:
        if self._order is None or self._order[0] != number:
            generator = torch.Generator().manual_seed(self.recipe.seed * 7_919 + number + 1)
            self._order = number, torch.randperm(len(self.labels), generator=generator)
        return self._order[1]


def digest(pictures: Pictures) -> str:
    """Name pictures by what they are."""
    mark = hashlib.blake2b(digest_size=8)
    for tensor in (pictures.pixels, pictures.labels):
        mark.update(tensor.numpy().tobytes())
    mark.update("\n".join(pictures.classes).encode())
    return mark.hexdigest()
