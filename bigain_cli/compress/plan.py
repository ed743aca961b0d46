"""The contract between the hooks and the operators: tokens on a grid in, a Plan for one block out.

A plan is a pure function of one row's tokens, its seed and its time: batch size and position change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor


class Grid(NamedTuple):
    """Rows and columns of tokens, row-major."""

    h: int
    w: int

    @property
    def n(self) -> int:
        """Return the number of tokens."""
        return self.h * self.w


class PlanRows(NamedTuple):
    """What is known about a batch's rows beside their tokens."""

    t: Tensor  # [b] float32, the network's own timesteps
    seeds: Tensor  # [b] int64, for operators that need randomness
    steps: int  # the number of timesteps: t is below it
    site: int  # the block's index, so that blocks differ in their randomness
    row_ids: Tensor  # [b] int64, different in rows of one seed, for operators that differ from row to row


class Plan(Protocol):
    """How one block compresses its tokens in one forward."""

    def query(self, x: Tensor) -> Tensor:
        """Shorten the tokens that enter."""  # [b n c] -> [b m c]

    def keys(self, x: Tensor) -> Tensor | None:
        """Return tokens for keys and values, or None when these are the query's."""  # [b n c] -> [b k c]

    def bias(self, x: Tensor) -> Tensor | None:
        """Return what to add to the attention's logits, if anything."""  # [b 1 m]

    def restore(self, y: Tensor) -> Tensor:
        """Give every token its result."""  # [b m c] -> [b n c]

    def select(self, rows: Tensor) -> Plan:
        """Return the plan of the rows at an index."""  # [b]

    def clusters(self) -> Tensor:
        """Return for every token the number of its cluster: of the merged token, or of the pooled key."""  # [b n]

    def kept(self) -> Tensor:
        """Return the tokens that queries are made from."""  # [b m]

    def samples(self, device: torch.device) -> Tensor:
        """Return the tokens that keys have their positions from."""  # [b k] or [1 k]


class Counts(NamedTuple):
    """Tokens that remain at one block, for queries and for keys."""

    queries: int
    keys: int


class Operator(Protocol):
    """A way to compress a block."""

    def plan(self, tokens: Tensor, grid: Grid, rows: PlanRows) -> Plan:
        """Decide which tokens are merged or pooled."""  # [b n c]

    def anchors(self, tokens: Tensor, grid: Grid, rows: PlanRows) -> Tensor:
        """Return the tokens that others may be merged into, or that keys are sampled from."""  # [b q]

    def counts(self, grid: Grid) -> Counts:
        """Return how many tokens will remain."""

    def flops(self, grid: Grid, channels: int) -> int:
        """Return the cost of making a plan, 2 per multiply-add."""


def concatenate(parts: Sequence[Plans]) -> Plans:
    """Concatenate the plans of each site row by row; fields that are no tensors are the same in all parts."""
    return {key: _concatenate([part[key] for part in parts]) for key in parts[0]}


def _concatenate(plans: Sequence[Plan]) -> Plan:
    columns = zip(*cast(Sequence[tuple[Any, ...]], plans), strict=True)
    fields = (torch.cat(column) if isinstance(column[0], Tensor) else column[0] for column in columns)
    return cast(Plan, type(plans[0])(*fields))


class MergePlan(NamedTuple):
    """A clustering of the tokens, each cluster around a token that stays."""

    keep: Tensor  # [b m] tokens that stay, in the grid's order
    source: Tensor  # [b r] tokens that are merged away
    target: Tensor  # [b r] the token that each is merged into: a position in `keep`
    cluster: Tensor  # [b n] for every token its cluster: a position in `keep`
    size: Tensor  # [b m] tokens per cluster, float32
    mode: str  # mean, prune or mlerp
    weigh_keys: bool  # whether attention counts a merged key as often as it has tokens

    def query(self, x: Tensor) -> Tensor:
        """Reduce every cluster to one token."""  # [b n c] -> [b m c]
        kept = take(x, self.keep)
        if self.mode == "prune":
            return kept
        merged = take(x, self.source)
        mean = _add_to_targets(kept.float(), self.target, merged.float()) / self.size[..., None]
        if self.mode == "mlerp":
            mean = mean * self._norm_ratio(mean, kept, merged)
        return mean.to(x.dtype)

    def keys(self, x: Tensor) -> None:
        """Return nothing: keys and values are the merged tokens."""

    def bias(self, x: Tensor) -> Tensor | None:
        """Return log size, which makes attention proportional."""  # [b 1 m]
        return self.size.log().to(x.dtype)[:, None] if self.weigh_keys else None

    def restore(self, y: Tensor) -> Tensor:
        """Copy every cluster's result to its tokens."""  # [b m c] -> [b n c]
        return take(y, self.cluster)

    def select(self, rows: Tensor) -> MergePlan:
        """Return the plan of the rows at an index."""  # [b]
        keep, source, target, cluster, size = (field.index_select(0, rows) for field in self[:5])
        return MergePlan(keep, source, target, cluster, size, self.mode, self.weigh_keys)

    def clusters(self) -> Tensor:
        """Return every token's cluster."""  # [b n]
        return self.cluster

    def kept(self) -> Tensor:
        """Return the tokens that stay."""  # [b m]
        return self.keep

    def samples(self, device: torch.device) -> Tensor:
        """Return the tokens that stay: a merged token is where its destination was."""  # [b m]
        return self.keep

    def _norm_ratio(self, mean: Tensor, kept: Tensor, merged: Tensor) -> Tensor:
        """Return the factors that bring the mean to the largest norm in its cluster."""  # [b m 1]
        largest = _norm(kept).scatter_reduce(1, self.target, _norm(merged), "amax")
        norm = _norm(mean)
        return torch.where(norm > 0, largest / norm, 1.0)[..., None]


def merge_plan(n: int, source: Tensor, dest: Tensor, mode: str, weigh_keys: bool) -> MergePlan:
    """Merge each of the r tokens in `source` into its token in `dest`."""  # [b r], [b r]
    b, r = source.shape
    is_kept = torch.ones(b, n, dtype=torch.bool, device=source.device).scatter(1, source, False)
    keep, position = compact(is_kept, n - r)
    target = position.gather(1, dest)
    one = torch.ones(b, n, device=source.device)
    size = one[:, : n - r].scatter_add(1, target, one[:, :r])
    return MergePlan(keep, source, target, position.scatter(1, source, target), size, mode, weigh_keys)


def compact(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the positions where a mask is set, `count` per row, and the number of each in that list."""  # [b n]
    number = mask.cumsum(1) - 1  # [b n]
    positions = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    listed = positions.new_zeros(mask.shape[0], count + 1)  # the last column collects the unset ones
    listed = listed.scatter(1, torch.where(mask, number, count), positions)
    return listed[:, :count], number


def take(x: Tensor, index: Tensor) -> Tensor:
    """Gather tokens, row by row."""  # [b n c], [b m] -> [b m c]
    return x.flatten(0, 1).index_select(0, _batch_index(index, x.shape[1])).unflatten(0, index.shape)


def _add_to_targets(kept: Tensor, target: Tensor, merged: Tensor) -> Tensor:
    """Add each merged token to its target, always in the same order."""  # [b m c], [b r], [b r c]
    index, values = _batch_index(target, kept.shape[1]), merged.flatten(0, 1)
    flat, shape = kept.flatten(0, 1), kept.shape[:2]
    if flat.is_cuda:  # index_add would add atomically there, in any order
        return flat.index_put((index,), values, accumulate=True).unflatten(0, shape)
    return flat.index_add(0, index, values).unflatten(0, shape)


def _batch_index(index: Tensor, n: int) -> Tensor:
    """Turn indices within rows into indices over the whole batch."""  # [b m] -> [b·m]
    return (index + n * torch.arange(index.shape[0], device=index.device)[:, None]).flatten()


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.float32)


Plans = dict[str, Plan]
