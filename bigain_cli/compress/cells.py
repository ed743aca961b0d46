"""The cells that a stride cuts a grid into, and destinations chosen one per cell.

Rows and columns left over at the bottom and the right belong to no cell. Must not know operators.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bigain_cli.compress.plan import Grid

Stride = tuple[int, int]


def count(grid: Grid, stride: Stride) -> int:
    """Return the number of whole cells."""
    return (grid.h // stride[0]) * (grid.w // stride[1])


def cells(grid: Grid, stride: Stride, device: torch.device) -> Tensor:
    """List the tokens of each cell, row-major in both."""  # [q s]
    return grouped(torch.arange(grid.n, device=device)[None], grid, stride)[0]


def grouped(values: Tensor, grid: Grid, stride: Stride) -> Tensor:
    """Bring one number per token into cells."""  # [b n] -> [b q s]
    sy, sx = stride
    whole = whole_part(values, grid, stride).unflatten(1, (-1, sy)).unflatten(3, (-1, sx))  # [b hs sy ws sx]
    return whole.transpose(2, 3).flatten(3).flatten(1, 2)


def whole_part(values: Tensor, grid: Grid, stride: Stride) -> Tensor:
    """Cut off what belongs to no cell."""  # [b n] -> [b h' w']
    sy, sx = stride
    return values.unflatten(1, grid)[:, : grid.h // sy * sy, : grid.w // sx * sx]


def chosen(table: Tensor, place: Tensor) -> Tensor:
    """Return the token at a place in each cell."""  # [q s], [b q] -> [b q]
    return table.expand(place.shape[0], -1, -1).gather(2, place[..., None])[..., 0]
