"""Transformers: what is embedded first, a chain of blocks, and the layers behind it. Must not know kinds of blocks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import Any

from bigain_cli.compress.plan import Grid
from bigain_cli.compress.site import BlockKind, Tokens


class BlockChain:
    """The operations of a transformer, from those of its parts."""

    def root_grid(self, root: Any, latent: Grid) -> Grid:
        """Return the grid of all blocks."""
        raise NotImplementedError

    def chain(self, root: Any) -> Iterable[tuple[Any, BlockKind]]:
        """Return all blocks, in running order, each with its kind."""
        raise NotImplementedError

    def flops_before_blocks(self, root: Any, latent: Grid, context: int) -> int:
        """Return the operations that embed what goes in."""
        raise NotImplementedError

    def flops_behind_blocks(self, root: Any, latent: Grid) -> int:
        """Return the operations of the layers behind the last block."""
        raise NotImplementedError

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
