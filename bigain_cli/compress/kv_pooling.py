"""Keys and values from fewer positions (IE-KVD, ToDo, average): D = α·nearest + (1 − α)·average over each cell.

In: tokens and time; out: a Plan that pools keys. Queries keep every token, so there is nothing to restore.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain_cli.compress.plan import Counts, Grid, PlanRows
from bigain_cli.compress.spec import Term


class PoolPlan(NamedTuple):
    """One sample per factor×factor cell; the cells at the border may be smaller."""

    grid: Grid
    factor: int
    alpha: float | Tensor  # or [b 1 1], not clamped: above 1 extrapolates

    def query(self, x: Tensor) -> Tensor:
        """Keep every token."""
        return x

    def keys(self, x: Tensor) -> Tensor:
        """Mix the cell's middle token and its average."""  # [b n c] -> [b k c]
        if isinstance(self.alpha, Tensor):
            mixed = torch.lerp(self._average(x).float(), self._nearest(x).float(), self.alpha)
            return mixed.to(x.dtype)
        if self.alpha == 1:
            return self._nearest(x)
        if self.alpha == 0:
            return self._average(x)
        return torch.lerp(self._average(x), self._nearest(x), self.alpha)

    def bias(self, x: Tensor) -> None:
        """Return nothing."""

    def restore(self, y: Tensor) -> Tensor:
        """Return the result unchanged: it has every token."""
        return y

    def select(self, rows: Tensor) -> PoolPlan:
        """Return the same plan: its rows differ in nothing but time."""
        return self

    def clusters(self) -> Tensor:
        """Return every token's cell."""  # [1 n]
        rows, columns = (torch.arange(length) // self.factor for length in self.grid)
        return (rows[:, None] * -(-self.grid.w // self.factor) + columns).flatten()[None]

    def kept(self) -> Tensor:
        """Return all tokens."""  # [1 n]
        return torch.arange(self.grid.n)[None]

    def samples(self, device: torch.device) -> Tensor:
        """Return each cell's nearest sample."""  # [1 k]
        return _nearest_samples(self.grid, self.factor, device)[None]

    def _nearest(self, x: Tensor) -> Tensor:
        return x.index_select(1, _nearest_samples(self.grid, self.factor, x.device))

    def _average(self, x: Tensor) -> Tensor:
        image = x.unflatten(1, self.grid).permute(0, 3, 1, 2)  # [b c h w], channels last
        small = F.avg_pool2d(image, self.factor, ceil_mode=True, count_include_pad=False)
        return small.permute(0, 2, 3, 1).flatten(1, 2)


class KvPooling:
    """The operator; `alpha` goes from its first value at the noisy end of time to its second at the clean end."""

    def __init__(self, term: Term, alpha: tuple[float, float] | None = None) -> None:
        self.factor = int(term.amount)
        self.noisy, self.clean = alpha or term.alpha

    def plan(self, tokens: Tensor, grid: Grid, rows: PlanRows) -> PoolPlan:
        """Return alpha at each row's time."""
        alpha: float | Tensor = self.noisy
        if self.noisy != self.clean:
            alpha = (self.clean + (self.noisy - self.clean) * rows.t / rows.steps)[:, None, None]
        return PoolPlan(grid, self.factor, alpha)

    def anchors(self, tokens: Tensor, grid: Grid, rows: PlanRows) -> Tensor:
        """Return each cell's nearest sample."""  # [b k]
        return _nearest_samples(grid, self.factor, tokens.device).expand(tokens.shape[0], -1)

    def counts(self, grid: Grid) -> Counts:
        """Return how many tokens will remain."""
        return Counts(grid.n, -(-grid.h // self.factor) * -(-grid.w // self.factor))

    def flops(self, grid: Grid, channels: int) -> int:
        """Return nothing: there are no matrix products."""
        return 0


def nearest(term: Term) -> KvPooling:
    """ToDo: the nearest sample alone."""
    return KvPooling(term, (1.0, 1.0))


def average(term: Term) -> KvPooling:
    """Average pooling alone."""
    return KvPooling(term, (0.0, 0.0))


def _nearest_samples(grid: Grid, factor: int, device: torch.device) -> Tensor:
    """Return each cell's nearest sample."""  # [k]
    rows, columns = (_middle_positions(length, factor, device) for length in grid)
    return (rows[:, None] * grid.w + columns).flatten()


def _middle_positions(length: int, factor: int, device: torch.device) -> Tensor:
    """Return each cell's nearest-exact sample: floor((i + ½)·factor), or the middle of a smaller cell at the border."""
    starts = torch.arange(0, length, factor, device=device)
    return starts + (length - starts).clamp_max(factor) // 2
