"""Muon: steps along the nearest orthogonal matrix to a momentum, for the matrices and kernels inside a network.

K. Jordan et al., 2024. In float32, because a CPU may be slow in bfloat16, and for kernels, too, which torch's own
does not take: a kernel counts as the matrix from its inputs to its outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
            moved = [weight for weight in group["params"] if weight.grad is not None]
            directions = orthogonalised([self._momentum(weight, weight.grad) for weight in moved])
            for weight, direction in zip(moved, directions, strict=True):
                rows, columns = direction.shape
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(direction.view_as(weight), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    def _momentum(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """Return the matrix to move along, before it is made orthogonal."""
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(momentum, MOMENTUM).flatten(1)


def orthogonalised(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Return matrices with the same singular vectors, whose singular values are near 1.

    Every step multiplies by a polynomial of x xᵀ. These commute, so the steps run on the small squares x xᵀ alone, on
    all of one size at once: one by one, a GPU would spend most of a training's time on starting small products.
    """
    wide = [x / (x.norm() + 1e-7) for x in (each if _is_wide(each) else each.T for each in matrices)]
    sizes = [len(x) for x in wide]
    products = list(wide)
    for size in sorted(set(sizes)):
        members = [number for number, each in enumerate(sizes) if each == size]
        factors = _polynomial(torch.stack([wide[number] @ wide[number].T for number in members]))
        for number, factor in zip(members, factors, strict=True):
            products[number] = factor @ wide[number]
    return [x if _is_wide(each) else x.T for x, each in zip(products, matrices, strict=True)]


def _is_wide(matrix: Tensor) -> bool:
    return matrix.shape[0] <= matrix.shape[1]


def _polynomial(gram: Tensor) -> Tensor:
    """Return what x is multiplied by, for stacks of x xᵀ."""  # [k n n]
    a, b, c = QUINTIC
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    product = identity.expand_as(gram)
    for _ in range(ITERATIONS):
        factor = a * identity + b * gram + c * gram @ gram
        product, gram = factor @ product, factor @ gram @ factor
    return product


def matrices_of(network: nn.Module) -> list[Tensor]:
    """Return the weights of the linear layers and convolutions that are large enough on both sides.

    Those of the time are left out: orthogonal steps make its embedding so large that nothing else is seen beside it.
    """
    layers = {name: each for name, each in network.named_modules() if isinstance(each, nn.Linear | nn.Conv2d)}
    found = [layer.weight for name, layer in layers.items() if "time" not in name]
    return [weight for weight in found if min(weight.flatten(1).shape) >= SMALLEST]
