"""Token merging. L-GTM, ToMe and SiTo match tokens to one destination per cell and merge the r most similar pairs.

L-GTM picks the smoothest token of a cell (Laplacian) as destination, ToMe a random or the first one, SiTo the one
most similar to the whole image. ABM merges whole smooth cells instead. In: tokens; out: a MergePlan.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

from bigain_cli.compress.plan import Counts, Grid, MergePlan, PlanRows, compact, merge_plan, take
from bigain_cli.compress.spec import Term
from bigain_cli.compress.token_scores import (
    TINY,
    UNIT,
    cell_count,
    cell_tokens,
    crop_to_cells,
    fixed_order_sum,
    fixed_point,
    group_by_cell,
    hash_numbers,
    laplacian,
    most_similar,
    pick_per_cell,
    unique_sort_keys,
)

Destinations = tuple[Tensor, Tensor | None]  # [b q] destinations, [b n] penalties on merging a token
Choose = Callable[[Tensor, Tensor, Grid, PlanRows], Destinations]


class TokenMerging:
    """The operator; `choose` returns the destinations, `units` the vectors whose products are compared."""

    def __init__(self, term: Term, choose: Choose, mode: str, units: Callable[[Tensor], Tensor] = fixed_point) -> None:
        self.choose, self.units = choose, units
        self.stride, self.mode, self.weigh_keys = term.stride, mode, term.bias
        self.ratio = Fraction(repr(term.amount)).as_integer_ratio()  # 0.29 of 100 is 29, not 28

    @torch.no_grad()
    def plan(self, tokens: Tensor, grid: Grid, rows: PlanRows) -> MergePlan:
        """Match every other token to a destination; merge the r best pairs."""  # [b n c]
        b, r = tokens.shape[0], self.merged(grid)
        if r == 0:
            none = torch.empty(b, 0, dtype=torch.int64, device=tokens.device)
            return merge_plan(grid.n, none, none, self.mode, self.weigh_keys)
        units = self.units(tokens)
        dest, penalty = self.choose(tokens, units, grid, rows)
        is_source = torch.ones(b, grid.n, dtype=torch.bool, device=tokens.device).scatter(1, dest, False)
        source, _ = compact(is_source, grid.n - dest.shape[1])
        rank, nearest = most_similar(take(units, source), take(units, dest))
        if penalty is not None:
            rank = rank - penalty.gather(1, source)
        first = unique_sort_keys(rank).topk(r).indices
        source, dest = source.gather(1, first), dest.gather(1, nearest.gather(1, first))
        return merge_plan(grid.n, source, dest, self.mode, self.weigh_keys)

    def anchors(self, tokens: Tensor, grid: Grid, rows: PlanRows) -> Tensor:
        """Return the destinations, one per cell."""  # [b q]
        return self.choose(tokens, self.units(tokens), grid, rows)[0]

    def merged(self, grid: Grid) -> int:
        """Return how many tokens are merged away: floor(ratio·N), but no destination."""
        destinations = cell_count(grid, self.stride)
        return min(_share(grid.n, self.ratio), grid.n - destinations) if destinations else 0

    def counts(self, grid: Grid) -> Counts:
        """Return how many tokens will remain."""
        return Counts(m := grid.n - self.merged(grid), m)

    def flops(self, grid: Grid, channels: int) -> int:
        """Return the cost of matching: every source with every destination."""
        q = cell_count(grid, self.stride)
        return 2 * (grid.n - q) * q * channels if self.merged(grid) else 0


def _share(n: int, ratio: tuple[int, int]) -> int:
    return n * ratio[0] // ratio[1]


def laplacian_gated(term: Term) -> TokenMerging:
    """L-GTM: destinations are the smoothest tokens; with a gate, rough tokens are merged later."""

    def choose(tokens: Tensor, units: Tensor, grid: Grid, rows: PlanRows) -> Destinations:
        score = laplacian(tokens, grid, term.pad)
        position = lowest(score, grid, term.stride)
        penalty = None
        if term.gate:
            penalty = UNIT**2 * term.gate * score / score.amax(1, keepdim=True).clamp_min(TINY)
        return pick_per_cell(cell_tokens(grid, term.stride, tokens.device), position), penalty

    lowest = _lowest_in_strips if term.variant == "compat" else _lowest_in_cells
    return TokenMerging(term, choose, term.mode)


def random_cells(term: Term) -> TokenMerging:
    """ToMe: destinations are random by the row's seed, or the first token of each cell."""

    def choose(tokens: Tensor, units: Tensor, grid: Grid, rows: PlanRows) -> Destinations:
        table = cell_tokens(grid, term.stride, tokens.device)
        q, s = table.shape
        cell = torch.arange(q, device=tokens.device)
        if term.variant == "fixed":
            return table[:, 0].expand(tokens.shape[0], -1), None
        t = rows.t.view(torch.int32).long()[:, None]
        row_ids = (rows.row_ids[:, None],) if term.variant == "unshared" else ()
        numbers = hash_numbers(cell, *row_ids, rows.seeds[:, None], t, rows.site)
        return pick_per_cell(table, numbers % s), None

    return TokenMerging(term, choose, term.mode, _unit_vectors if term.variant == "fixed" else fixed_point)


def similarity_pruned(term: Term) -> TokenMerging:
    """SiTo: destinations have the largest summed similarity to all tokens; merged tokens are dropped, not averaged."""

    def choose(tokens: Tensor, units: Tensor, grid: Grid, rows: PlanRows) -> Destinations:
        whole = units.long() if units.device.type == "mps" else units.double()  # exact; faster where there is float64
        similarity = (whole * whole.sum(1, keepdim=True)).sum(-1)  # [b n]
        position = group_by_cell(similarity, grid, term.stride).argmax(-1)
        return pick_per_cell(cell_tokens(grid, term.stride, tokens.device), position), None

    return TokenMerging(term, choose, "prune")


def _lowest_in_cells(score: Tensor, grid: Grid, stride: tuple[int, int]) -> Tensor:
    """Return the position of the lowest score in each cell; the first of equals."""  # [b q]
    return group_by_cell(score, grid, stride).argmin(-1)


def _lowest_in_strips(score: Tensor, grid: Grid, stride: tuple[int, int]) -> Tensor:
    """Read strips of a row instead of cells, as the paper's released code does."""  # [b q]
    return crop_to_cells(score, grid, stride).flatten(1).unflatten(1, (-1, stride[0] * stride[1])).argmin(-1)


def _unit_vectors(tokens: Tensor) -> Tensor:
    """Return unit vectors in the tokens' own precision, as tomesd does."""
    return tokens / tokens.norm(dim=-1, keepdim=True)


class AdaptiveBlocks:
    """ABM: the smoothest cells, by the sum or the maximum of their tokens' roughness, become one token each."""

    def __init__(self, term: Term) -> None:
        self.term = term
        self.ratio = Fraction(repr(term.amount)).as_integer_ratio()
        self.others = term.stride[0] * term.stride[1] - 1  # tokens that are merged away in each cell

    @torch.no_grad()
    def plan(self, tokens: Tensor, grid: Grid, rows: PlanRows) -> MergePlan:
        """Merge the smoothest cells; the first of equals."""  # [b n c]
        b, k = tokens.shape[0], self.merged_cells(grid)
        table = cell_tokens(grid, self.term.stride, tokens.device)  # [q s]
        score = laplacian(tokens, grid, self.term.pad)
        cells = group_by_cell(score, grid, self.term.stride)  # [b q s]
        roughness = cells.amax(-1) if self.term.pool == "max" else fixed_order_sum(cells)  # [b q]
        smooth = table[unique_sort_keys(-roughness).topk(k).indices]  # [b k s]
        source = smooth[:, :, 1:].flatten(1)
        dest = smooth[:, :, :1].expand(b, k, self.others).flatten(1)
        return merge_plan(grid.n, source, dest, self.term.mode, self.term.bias)

    def anchors(self, tokens: Tensor, grid: Grid, rows: PlanRows) -> Tensor:
        """Return the first token of each cell."""  # [b q]
        return cell_tokens(grid, self.term.stride, tokens.device)[:, 0].expand(tokens.shape[0], -1)

    def merged_cells(self, grid: Grid) -> int:
        """Return how many cells are merged: as many as fit into floor(ratio·N) merged tokens."""
        if not self.others:
            return 0
        return min(_share(grid.n, self.ratio) // self.others, cell_count(grid, self.term.stride))

    def counts(self, grid: Grid) -> Counts:
        """Return how many tokens will remain."""
        return Counts(m := grid.n - self.merged_cells(grid) * self.others, m)

    def flops(self, grid: Grid, channels: int) -> int:
        """Return nothing: there are no matrix products."""
        return 0
