"""The contract between the seam and the operators: tokens on a grid in, a Plan for one block out.

A plan is a pure function of one row's tokens, its seed and its time: batch size and position change nothing.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Grid(NamedTuple):
    """Rows and columns of tokens, row-major."""

    h: int
    w: int

    @property
    def n(self) -> int:
        """Return the number of tokens."""
        return self.h * self.w


class Rows(NamedTuple):
    """What is known of a batch's rows beside their tokens."""

    t: Tensor  # [b] float32, the network's own timesteps
    seeds: Tensor  # [b] int64, for operators that need randomness
    steps: int  # the noisy end of t
    site: int  # which block asks, so that blocks differ in their randomness
    apart: Tensor  # [b] int64, what tells rows of one seed apart, for operators that differ from row to row


class Plan(Protocol):
    """What one block does to its tokens, once."""

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
        """Return for every token the number of what stands for it: the token it became, or the key."""  # [b n]

    def stays(self) -> Tensor:
        """Return the tokens that queries are made from."""  # [b m]


class Counts(NamedTuple):
    """Tokens that remain at one block, for queries and for keys."""

    queries: int
    keys: int


class Operator(Protocol):
    """A way to compress a block."""

    def plan(self, tokens: Tensor, grid: Grid, rows: Rows) -> Plan:
        """Look at the tokens and decide."""  # [b n c]

    def anchors(self, tokens: Tensor, grid: Grid, rows: Rows) -> Tensor:
        """Return the tokens that others may join, or that keys are sampled from."""  # [b q]

    def counts(self, grid: Grid) -> Counts:
        """Return how many tokens will remain."""

    def flops(self, grid: Grid, channels: int) -> int:
        """Return what deciding costs, 2 per multiply-add."""
