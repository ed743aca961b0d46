"""Muon: steps along the nearest orthogonal matrix to a momentum, for the matrices and kernels inside a network.

K. Jordan et al., 2024. In float32, because a CPU may be slow in bfloat16, and for kernels, too, which torch's own
does not take: a kernel counts as the matrix from its inputs to its outputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # the published coefficients: singular values go to about 1 in few iterations
SMALLEST = 16  # rows and columns; a first or last layer of few channels is no matrix to orthogonalise


class Muon(torch.optim.Optimizer):
    """Nesterov's momentum, orthogonalised."""

    def __init__(self, weights: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float, weight_decay: float) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group["lr"], group["weight_decay"])

    def _move(self, weight: Tensor, gradient: Tensor, rate: float, decay: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        direction = orthogonalised(gradient.lerp(momentum, MOMENTUM).flatten(1))
        rows, columns = direction.shape
        weight.mul_(1 - rate * decay)
        weight.add_(direction.view_as(weight), alpha=-rate * max(1.0, rows / columns) ** 0.5)


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return a matrix with the same singular vectors, whose singular values are near 1.

    Every step multiplies by a polynomial of x xᵀ. These commute, so the steps run on the small square x xᵀ alone.
    """
    a, b, c = QUINTIC
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    identity = product = torch.eye(len(x), dtype=x.dtype, device=x.device)
    for _ in range(ITERATIONS):
        factor = a * identity + b * gram + c * gram @ gram
        product, gram = factor @ product, factor @ gram @ factor
    x = product @ x
    return x.T if is_tall else x


def matrices_of(network: nn.Module) -> list[Tensor]:
    """Return the weights of the linear layers and convolutions that are large enough on both sides.

    Those of the time are left out: orthogonal steps make its embedding so large that nothing else is seen beside it.
    """
    layers = {name: each for name, each in network.named_modules() if isinstance(each, nn.Linear | nn.Conv2d)}
    found = [layer.weight for name, layer in layers.items() if "time" not in name]
    return [weight for weight in found if min(weight.flatten(1).shape) >= SMALLEST]
