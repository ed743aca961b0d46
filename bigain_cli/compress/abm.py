"""Adaptive block merging: the cells with the weakest Laplacian response collapse to one token each.

In: tokens; out: a Merge. No matching: a cell stays or collapses as a whole.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from bigain_cli.compress.cells import cells, count, grouped
from bigain_cli.compress.merge import Merge, merge
from bigain_cli.compress.plan import Counts, Grid, Rows
from bigain_cli.compress.spec import Term
from bigain_cli.compress.token_scores import fold, keyed, laplacian


class AdaptiveBlocks:
    """The operator."""

    def __init__(self, term: Term) -> None:
        self.term = term
        self.part, self.whole = Fraction(repr(term.amount)).as_integer_ratio()
        self.others = term.stride[0] * term.stride[1] - 1  # tokens that leave with each cell

    @torch.no_grad()
    def plan(self, tokens: Tensor, grid: Grid, rows: Rows) -> Merge:
        """Collapse the smoothest cells; the first of equals."""  # [b n c]
        b, k = tokens.shape[0], self.collapsing(grid)
        table = cells(grid, self.term.stride, tokens.device)  # [q s]
        roughness = fold(grouped(laplacian(tokens, grid, self.term.pad), grid, self.term.stride))  # [b q]
        smooth = table[keyed(-roughness).topk(k).indices]  # [b k s]
        source = smooth[:, :, 1:].flatten(1)
        dest = smooth[:, :, :1].expand(b, k, self.others).flatten(1)
        return merge(grid.n, source, dest, self.term.mode, self.term.bias)

    def anchors(self, tokens: Tensor, grid: Grid, rows: Rows) -> Tensor:
        """Return the first token of each cell."""  # [b q]
        return cells(grid, self.term.stride, tokens.device)[:, 0].expand(tokens.shape[0], -1)

    def collapsing(self, grid: Grid) -> int:
        """Return how many cells collapse: as many as fit into floor(ratio·N) leaving tokens."""
        if not self.others:
            return 0
        return min(grid.n * self.part // self.whole // self.others, count(grid, self.term.stride))

    def counts(self, grid: Grid) -> Counts:
        """Return how many tokens will remain."""
        return Counts(m := grid.n - self.collapsing(grid) * self.others, m)

    def flops(self, grid: Grid, channels: int) -> int:
        """Return nothing: there are no matrix products."""
        return 0
