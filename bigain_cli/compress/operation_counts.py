"""The arithmetic of layers, from their shapes: 2 per multiply-add in matrix products and convolutions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from bigain_cli.compress.plan import Grid


def linears(modules: Iterable[nn.Module | None], rows: int) -> int:
    """Return the operations of all linear layers inside some modules, for so many rows."""
    inner = [m for module in modules if module is not None for m in module.modules() if isinstance(m, nn.Linear)]
    return sum(2 * rows * m.in_features * m.out_features for m in inner)


def convolutions(module: nn.Module, grid: Grid) -> int:
    """Return the operations of all convolutions inside a module, whose outputs have one size."""
    return sum(convolution(m, grid) for m in module.modules() if isinstance(m, nn.Conv2d))


def convolution(conv: nn.Conv2d, grid: Grid) -> int:
    """Return the operations of a convolution, by the size of its output."""
    return 2 * grid.n * conv.weight.numel()


def attention_products(queries: int, keys: int, width: int) -> int:
    """Return the operations of QKᵀ and of its product with V."""
    return 4 * queries * keys * width


def attention_flops(attention: Any, queries: int, keys: int) -> int:
    """Return the operations of an attention with its projections."""
    in_and_out = linears([attention.to_q, attention.to_out], queries)
    in_keys = linears([attention.to_k, attention.to_v], keys)
    return in_and_out + in_keys + attention_products(queries, keys, attention.inner_dim)


def child(module: nn.Module, name: str) -> nn.Module | None:
    """Return a part that some networks lack."""
    return module._modules.get(name)
