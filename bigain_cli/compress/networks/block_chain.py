"""Transformers: what is embedded first, a chain of blocks, and the layers behind it. Must not know kinds of blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import takewhile
from typing import Any

from bigain_cli.compress.plan import Grid
from bigain_cli.compress.site import BlockKind, Tokens


class BlockChain(ABC):
    """The operations of a transformer, from those of its parts."""

    @abstractmethod
    def root_grid(self, root: Any, latent: Grid) -> Grid:
        """Return the grid of all blocks."""

    @abstractmethod
    def chain(self, root: Any) -> Iterable[tuple[Any, BlockKind]]:
        """Return all blocks, in running order, each with its kind."""

    @abstractmethod
    def flops_before_blocks(self, root: Any, latent: Grid, context: int) -> int:
        """Return the operations that embed what goes in."""

    @abstractmethod
    def flops_behind_blocks(self, root: Any, latent: Grid) -> int:
        """Return the operations of the layers behind the last block."""

    def flops(self, root: Any, latent: Grid, context: int) -> int:
        """Return the operations of one forward."""
        before = self.flops_before_block(root, latent, context, None)
        return before + self.flops_behind_blocks(root, latent)

    def flops_before_block(self, root: Any, latent: Grid, context: int, block: Any) -> int:
        """Return the operations before one of the blocks; with None, those before the layers behind all of them."""
        tokens = Tokens.all(self.root_grid(root, latent).n)
        earlier = takewhile(lambda each: each[0] is not block, self.chain(root))
        return self.flops_before_blocks(root, latent, context) + sum(
            kind.flops(each, tokens, context) for each, kind in earlier
        )
