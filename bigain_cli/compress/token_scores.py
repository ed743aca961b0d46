"""Numbers that rank tokens, equal to the bit on any device and in any batch: sums in a fixed order, exact matching.

In: tokens [b n c]; out: scores, similarities, sort keys, hashes. Must not know operators.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain_cli.compress.plan import Grid

UNIT = 2047  # the length of a vector in fixed point
TINY = torch.finfo(torch.float32).tiny
CHUNK = 512  # destinations compared at once: the matrix of similarities never exists as a whole


def fixed_order_sum(x: Tensor) -> Tensor:
    """Sum over the last dimension pair by pair: the order depends on its length alone."""  # [… c] -> […]
    while (c := x.shape[-1]) > 1:
        half = c // 2
        head = x[..., :half] + x[..., half : 2 * half]
        x = torch.cat([head[..., :-1], head[..., -1:] + x[..., -1:]], -1) if c % 2 else head
    return x[..., 0]


def laplacian(x: Tensor, grid: Grid, pad: str) -> Tensor:
    """Return the summed absolute response of each token to the four-neighbour Laplacian."""  # [b n c] -> [b n]
    x = x.float().unflatten(1, grid)  # [b h w c]
    if pad == "zero":
        wide = F.pad(x, (0, 0, 1, 1, 1, 1))
    else:
        tall = torch.cat([x[:, :1], x, x[:, -1:]], 1)
        wide = torch.cat([tall[:, :, :1], tall, tall[:, :, -1:]], 2)
    up, down = wide[:, :-2, 1:-1], wide[:, 2:, 1:-1]
    left, right = wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]
    return fixed_order_sum((up + down + left + right - 4 * x).abs()).flatten(1)


def fixed_point(x: Tensor) -> Tensor:
    """Round unit vectors to integers below 2^11.

    A product of two has integer partial sums below 2^24 in any order, so float32, TF32 and float16 matrix units all
    give the exact result: similarities do not depend on the batch, the device or a precision setting. The price is
    an error of about 2e-4 in the cosine.
    """  # [b n c]
    x = x.float()
    x = x / x.abs().amax(-1, keepdim=True).clamp_min(TINY)  # so that squares neither vanish nor overflow
    norm = fixed_order_sum(x * x).sqrt().clamp_min(1e-9)
    units = (x * (UNIT / norm)[..., None]).round()
    return units.half() if units.is_cuda else units


def most_similar(a: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row's largest product in `d`, and its index; the first of equals."""  # [b s c], [b q c] -> [b s]
    with nullcontext() if a.is_meta else torch.autocast(a.device.type, enabled=False):
        top, where = _products(a, d[:, :CHUNK]).max(-1)
        for start in range(CHUNK, d.shape[1], CHUNK):
            value, at = _products(a, d[:, start : start + CHUNK]).max(-1)
            where = torch.where(value > top, at + start, where)
            top = torch.maximum(value, top)
        return top, where


def _products(a: Tensor, d: Tensor) -> Tensor:
    if a.is_cuda and a.dtype == torch.float16:
        return torch.bmm(a, d.mT, out_dtype=torch.float32)
    return torch.bmm(a, d.mT)


def unique_sort_keys(value: Tensor) -> Tensor:
    """Map numbers to different integers in the same order; of equal numbers, the first gets the largest."""  # [b n]
    bits = value.float().contiguous().view(torch.int32).long()
    ordered = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    n = value.shape[1]
    return ordered * n + torch.arange(n - 1, -1, -1, device=value.device)


def hash_numbers(*parts: Tensor | int) -> Tensor:
    """Hash integers to 32 random bits; the same on every device."""
    state: Tensor | int = 0x9E3779B9
    for part in parts:
        low, high = part & 0xFFFFFFFF, (part >> 32) & 0xFFFFFFFF
        for word in (low, high):
            state = state ^ word
            for _ in range(2):
                state = ((state >> 16) ^ state) * 0x45D9F3B & 0xFFFFFFFF
            state = (state >> 16) ^ state
    assert isinstance(state, Tensor)
    return state


Stride = tuple[int, int]


def cell_count(grid: Grid, stride: Stride) -> int:
    """Return the number of whole cells."""
    return (grid.h // stride[0]) * (grid.w // stride[1])


def cell_tokens(grid: Grid, stride: Stride, device: torch.device) -> Tensor:
    """List the tokens of each cell, row-major in both."""  # [q s]
    return group_by_cell(torch.arange(grid.n, device=device)[None], grid, stride)[0]


def group_by_cell(values: Tensor, grid: Grid, stride: Stride) -> Tensor:
    """Group one number per token by cell."""  # [b n] -> [b q s]
    sy, sx = stride
    whole = crop_to_cells(values, grid, stride).unflatten(1, (-1, sy)).unflatten(3, (-1, sx))  # [b hs sy ws sx]
    return whole.transpose(2, 3).flatten(3).flatten(1, 2)


def crop_to_cells(values: Tensor, grid: Grid, stride: Stride) -> Tensor:
    """Cut off the tokens that belong to no whole cell."""  # [b n] -> [b h' w']
    sy, sx = stride
    return values.unflatten(1, grid)[:, : grid.h // sy * sy, : grid.w // sx * sx]


def pick_per_cell(table: Tensor, position: Tensor) -> Tensor:
    """Return the token at a position in each cell."""  # [q s], [b q] -> [b q]
    return table.expand(position.shape[0], -1, -1).gather(2, position[..., None])[..., 0]
