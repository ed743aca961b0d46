"""Fill an empty network with random weights on its device and in its dtype; no other copy of them ever exists.

Large tensors repeat a block of random numbers, which takes the time of a copy.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = (1 << 20) - 3  # numbers before they repeat; odd, so that no two rows of a matrix are alike


def initialise(network: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Give an empty network random weights, the same ones every time; activations stay in range through any depth."""
    generator = torch.Generator(device).manual_seed(0)
    block = torch.rand(BLOCK, generator=generator, device=device).mul_(2).sub_(1).to(dtype)  # uniform in -1 … 1
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                value = torch.empty(parameter.shape, device=device, dtype=dtype)
                _fill(module, name, value, block)
                module._parameters[name] = nn.Parameter(value, requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device, dtype if buffer.is_floating_point() else buffer.dtype)


def _fill(module: nn.Module, name: str, value: Tensor, block: Tensor) -> None:
    if "Norm" in type(module).__name__ and value.ndim == 1:
        value.fill_(1.0 if name == "weight" else 0.0)
        return
    bound = 0.02 * math.sqrt(3)
    if isinstance(module, nn.Linear | nn.Conv2d):
        bound = 1 / math.sqrt(math.prod(module.weight.shape[1:]))
    if isinstance(module, nn.Embedding):
        bound = 1.0
    flat = value.view(-1)
    for start in range(0, len(flat), len(block)):
        part = flat[start : start + len(block)]
        torch.mul(block[: len(part)], bound, out=part)
