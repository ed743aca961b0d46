"""Merging by matching: one destination per cell, every other token may leave for the most similar destination.

L-GTM picks the smoothest token of a cell (Laplacian), ToMe a random or the first one, SiTo the one most like the
whole image. In: tokens; out: a Merge. The r best pairs leave.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

from bigain_cli.compress.plan import Counts, Grid, MergePlan, Rows, compact, merge_plan, take
from bigain_cli.compress.spec import Term
from bigain_cli.compress.token_scores import (
    TINY,
    UNIT,
    cells,
    count,
    fixed_order_sum,
    fixed_point,
    grouped,
    hashed,
    laplacian,
    most_similar,
    pick_per_cell,
    unique_sort_keys,
    whole_part,
)

Choice = tuple[Tensor, Tensor | None]  # [b q] destinations, [b n] what speaks against leaving
Choose = Callable[[Tensor, Tensor, Grid, Rows], Choice]


class TokenMerging:
    """The operator around a way to choose destinations."""

    def __init__(self, term: Term, choose: Choose, mode: str, units: Callable[[Tensor], Tensor] = fixed_point) -> None:
        self.choose, self.units = choose, units
        self.stride, self.mode, self.weigh = term.stride, mode, term.bias
        self.part, self.whole = Fraction(repr(term.amount)).as_integer_ratio()  # 0.29 of 100 is 29, not 28

    @torch.no_grad()
    def plan(self, tokens: Tensor, grid: Grid, rows: Rows) -> MergePlan:
        """Match sources to destinations; the r best leave."""  # [b n c]
        b, r = tokens.shape[0], self.leaving(grid)
        if r == 0:
            nobody = torch.empty(b, 0, dtype=torch.int64, device=tokens.device)
            return merge_plan(grid.n, nobody, nobody, self.mode, self.weigh)
        units = self.units(tokens)
        dest, against = self.choose(tokens, units, grid, rows)
        is_source = torch.ones(b, grid.n, dtype=torch.bool, device=tokens.device).scatter(1, dest, False)
        source, _ = compact(is_source, grid.n - dest.shape[1])
        rank, nearest = most_similar(take(units, source), take(units, dest))
        if against is not None:
            rank = rank - against.gather(1, source)
        first = unique_sort_keys(rank).topk(r).indices
        return merge_plan(
            grid.n, source.gather(1, first), dest.gather(1, nearest.gather(1, first)), self.mode, self.weigh
        )

    def anchors(self, tokens: Tensor, grid: Grid, rows: Rows) -> Tensor:
        """Return the destinations, one per cell."""  # [b q]
        return self.choose(tokens, self.units(tokens), grid, rows)[0]

    def leaving(self, grid: Grid) -> int:
        """Return how many tokens leave: floor(ratio·N), as far as there are sources."""
        cells_ = count(grid, self.stride)
        return min(grid.n * self.part // self.whole, grid.n - cells_) if cells_ else 0

    def counts(self, grid: Grid) -> Counts:
        """Return how many tokens will remain."""
        return Counts(m := grid.n - self.leaving(grid), m)

    def flops(self, grid: Grid, channels: int) -> int:
        """Return what matching costs: every source with every destination."""
        q = count(grid, self.stride)
        return 2 * (grid.n - q) * q * channels if self.leaving(grid) else 0


def laplacian_gated(term: Term) -> TokenMerging:
    """L-GTM: the smoothest token of each cell stays; with a gate, rough sources are held back too."""

    def choose(tokens: Tensor, units: Tensor, grid: Grid, rows: Rows) -> Choice:
        score = laplacian(tokens, grid, term.pad)
        place = lowest(score, grid, term.stride)
        against = None
        if term.gate:
            against = UNIT**2 * term.gate * score / score.amax(1, keepdim=True).clamp_min(TINY)
        return pick_per_cell(cells(grid, term.stride, tokens.device), place), against

    lowest = _strips if term.variant == "compat" else _cells
    return TokenMerging(term, choose, term.mode)


def random_cells(term: Term) -> TokenMerging:
    """ToMe: a random token of each cell stays, drawn from the row's seed; or its first one."""

    def choose(tokens: Tensor, units: Tensor, grid: Grid, rows: Rows) -> Choice:
        table = cells(grid, term.stride, tokens.device)
        q, s = table.shape
        cell = torch.arange(q, device=tokens.device)
        if term.variant == "fixed":
            return table[:, 0].expand(tokens.shape[0], -1), None
        t = rows.t.view(torch.int32).long()[:, None]
        if term.variant == "unshared":
            return pick_per_cell(table, hashed(cell, rows.apart[:, None], rows.seeds[:, None], t, rows.site) % s), None
        return pick_per_cell(table, hashed(cell, rows.seeds[:, None], t, rows.site) % s), None

    return TokenMerging(term, choose, term.mode, _units if term.variant == "fixed" else fixed_point)


def similarity_pruned(term: Term) -> TokenMerging:
    """SiTo: the token of each cell with the largest summed similarity to all tokens stays; the others are dropped."""

    def choose(tokens: Tensor, units: Tensor, grid: Grid, rows: Rows) -> Choice:
        whole = units.long() if units.device.type == "mps" else units.double()  # exact; faster where there is float64
        likeness = (whole * whole.sum(1, keepdim=True)).sum(-1)  # [b n]
        place = grouped(likeness, grid, term.stride).argmax(-1)
        return pick_per_cell(cells(grid, term.stride, tokens.device), place), None

    return TokenMerging(term, choose, "prune")


def _cells(score: Tensor, grid: Grid, stride: tuple[int, int]) -> Tensor:
    """Return the place of the lowest score in each cell; the first of equals."""  # [b q]
    return grouped(score, grid, stride).argmin(-1)


def _strips(score: Tensor, grid: Grid, stride: tuple[int, int]) -> Tensor:
    """Do as the released code of the paper does: read strips of a row instead of cells."""  # [b q]
    return whole_part(score, grid, stride).flatten(1).unflatten(1, (-1, stride[0] * stride[1])).argmin(-1)


def _units(tokens: Tensor) -> Tensor:
    """Return unit vectors in the tokens' own precision, as tomesd does."""
    return tokens / tokens.norm(dim=-1, keepdim=True)


class AdaptiveBlocks:
    """The operator."""

    def __init__(self, term: Term) -> None:
        self.term = term
        self.part, self.whole = Fraction(repr(term.amount)).as_integer_ratio()
        self.others = term.stride[0] * term.stride[1] - 1  # tokens that leave with each cell

    @torch.no_grad()
    def plan(self, tokens: Tensor, grid: Grid, rows: Rows) -> MergePlan:
        """Collapse the smoothest cells; the first of equals."""  # [b n c]
        b, k = tokens.shape[0], self.collapsing(grid)
        table = cells(grid, self.term.stride, tokens.device)  # [q s]
        roughness = fixed_order_sum(grouped(laplacian(tokens, grid, self.term.pad), grid, self.term.stride))  # [b q]
        smooth = table[unique_sort_keys(-roughness).topk(k).indices]  # [b k s]
        source = smooth[:, :, 1:].flatten(1)
        dest = smooth[:, :, :1].expand(b, k, self.others).flatten(1)
        return merge_plan(grid.n, source, dest, self.term.mode, self.term.bias)

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
