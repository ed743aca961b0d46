"""The plan of a merging: which tokens stay, which leave and for whom; one gather restores them.

In: for every row the tokens that leave and their destinations; must not know how these were chosen.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Merge(NamedTuple):
    """A clustering of the tokens, each cluster around a token that stays."""

    keep: Tensor  # [b m] tokens that stay, in the grid's order
    source: Tensor  # [b r] tokens that leave
    target: Tensor  # [b r] for whom: a place in `keep`
    into: Tensor  # [b n] for every token its cluster's place in `keep`
    size: Tensor  # [b m] tokens per cluster, float32
    mode: str  # mean, prune or mlerp
    weigh: bool  # whether attention counts a merged key as often as it has tokens

    def query(self, x: Tensor) -> Tensor:
        """Reduce every cluster to one token."""  # [b n c] -> [b m c]
        kept = take(x, self.keep)
        if self.mode == "prune":
            return kept
        leaving = take(x, self.source)
        mean = _added(kept.float(), self.target, leaving.float()) / self.size[..., None]
        if self.mode == "mlerp":
            mean = mean * self._stretch(mean, kept, leaving)
        return mean.to(x.dtype)

    def keys(self, x: Tensor) -> None:
        """Return nothing: keys and values are the merged tokens."""

    def bias(self, x: Tensor) -> Tensor | None:
        """Return log size, which makes attention proportional."""  # [b 1 m]
        return self.size.log().to(x.dtype)[:, None] if self.weigh else None

    def restore(self, y: Tensor) -> Tensor:
        """Copy every cluster's result to its tokens."""  # [b m c] -> [b n c]
        return take(y, self.into)

    def select(self, rows: Tensor) -> Merge:
        """Return the plan of the rows at an index."""  # [b]
        keep, source, target, into, size = (field.index_select(0, rows) for field in self[:5])
        return Merge(keep, source, target, into, size, self.mode, self.weigh)

    def clusters(self) -> Tensor:
        """Return every token's cluster."""  # [b n]
        return self.into

    def stays(self) -> Tensor:
        """Return the tokens that stay."""  # [b m]
        return self.keep

    def _stretch(self, mean: Tensor, kept: Tensor, leaving: Tensor) -> Tensor:
        """Return what brings the mean to the largest norm in its cluster."""  # [b m 1]
        largest = _norm(kept).scatter_reduce(1, self.target, _norm(leaving), "amax")
        norm = _norm(mean)
        return torch.where(norm > 0, largest / norm, 1.0)[..., None]


def merge(n: int, source: Tensor, dest: Tensor, mode: str, weigh: bool) -> Merge:
    """Let each of the r tokens in `source` leave for its token in `dest`."""  # [b r], [b r]
    b, r = source.shape
    stays = torch.ones(b, n, dtype=torch.bool, device=source.device).scatter(1, source, False)
    keep, place = compact(stays, n - r)
    target = place.gather(1, dest)
    one = torch.ones(b, n, device=source.device)
    size = one[:, : n - r].scatter_add(1, target, one[:, :r])
    return Merge(keep, source, target, place.scatter(1, source, target), size, mode, weigh)


def compact(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """List where a mask is set, `count` places per row, and give each its number in the list."""  # [b n]
    number = mask.cumsum(1) - 1  # [b n]
    places = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    listed = places.new_zeros(mask.shape[0], count + 1)  # the last column takes what is not set
    listed = listed.scatter(1, torch.where(mask, number, count), places)
    return listed[:, :count], number


def take(x: Tensor, index: Tensor) -> Tensor:
    """Gather tokens, row by row."""  # [b n c], [b m] -> [b m c]
    return x.flatten(0, 1).index_select(0, _flat(index, x.shape[1])).unflatten(0, index.shape)


def _added(kept: Tensor, target: Tensor, leaving: Tensor) -> Tensor:
    """Add each leaving token to its target, in an order that is the same every time."""  # [b m c], [b r], [b r c]
    index, values = _flat(target, kept.shape[1]), leaving.flatten(0, 1)
    flat, shape = kept.flatten(0, 1), kept.shape[:2]
    if flat.is_cuda:  # index_add would add atomically there, in any order
        return flat.index_put((index,), values, accumulate=True).unflatten(0, shape)
    return flat.index_add(0, index, values).unflatten(0, shape)


def _flat(index: Tensor, n: int) -> Tensor:
    """Count through all rows of a batch."""  # [b m] -> [b·m]
    return (index + n * torch.arange(index.shape[0], device=index.device)[:, None]).flatten()


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.float32)
