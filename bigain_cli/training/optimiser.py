"""The optimiser of a training: AdamW, or Muon for matrices and AdamW for the rest; its moments as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bigain_cli.training.muon import Muon, matrices_of
from bigain_cli.training.networks import TrainableBackbone
from bigain_cli.training.recipe import Recipe

MOMENTS = {torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"), Muon: ("momentum",)}


class TrainingOptimiser:
    """Both optimisers, which keep the ratio of their rates."""

    def __init__(self, recipe: Recipe, trainable: TrainableBackbone, device: torch.device) -> None:
        self._names: dict[Tensor, str] = {weight: name for name, weight in trainable.named_parameters()}
        matrices = matrices_of(trainable.network) if recipe.muon else []
        others = [weight for weight in self._names if not any(weight is matrix for matrix in matrices)]
        shared = trainable.shared_weights() if recipe.classifier else []
        fused = device.type != "mps"
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                _groups(others, shared), lr=recipe.rate, betas=(0.9, 0.99), weight_decay=recipe.decay, fused=fused
            )
        ]
        if matrices:
            self.parts.append(Muon(_groups(matrices, shared), recipe.muon, recipe.decay))
        self._peaks = [recipe.rate, recipe.muon]

    def set_rate(self, share: float, shared_factor: float = 1.0) -> None:
        """Set the rates to a share of their peaks, and those of the shared part to a factor of that."""
        for part, peak in zip(self.parts, self._peaks, strict=False):
            for group in part.param_groups:
                group["lr"] = share * peak * (shared_factor if group["shared"] else 1.0)

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Take a step."""
        for part in self.parts:
            scaler.step(part)

    def unscale(self, scaler: torch.amp.GradScaler) -> None:
        """Divide the gradients by the scale of the loss."""
        for part in self.parts:
            scaler.unscale_(part)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def moments(self) -> dict[str, Tensor]:
        """Return everything that the next step depends on, by name."""
        return {
            f"{key}.{self._names[weight]}": torch.as_tensor(value)
            for part in self.parts
            for weight, state in part.state.items()
            for key, value in state.items()
        }

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Continue from moments, where they are given."""
        for part in self.parts:
            keys = MOMENTS[type(part)]
            for weight in _weights_of(part):
                name = self._names[weight]
                if all(f"{key}.{name}" in tensors for key in keys):
                    part.state[weight] = {key: tensors[f"{key}.{name}"].to(device, copy=True) for key in keys}


def _groups(weights: Sequence[Tensor], shared: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Return the weights of the shared part apart from all others, as far as there are any."""
    inside = {id(weight) for weight in shared}
    both = ([weight for weight in weights if (id(weight) in inside) is part] for part in (False, True))
    return [{"params": some, "shared": part} for some, part in zip(both, (False, True), strict=True) if some]


def _weights_of(part: torch.optim.Optimizer) -> Sequence[Tensor]:
    return [weight for group in part.param_groups for weight in group["params"]]
