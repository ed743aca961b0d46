"""DiT and PixArt: transformers over the latent's patches, with plain blocks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from torch import nn

from bigain_cli.compress.networks.basic_block import BASIC_BLOCK, has_self_attention
from bigain_cli.compress.networks.patched_latents import PatchedLatents
from bigain_cli.compress.operation_counts import convolutions, linears
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.site import BlockPlace, Tokens

PARTS = {"transformer_blocks", "pos_embed"}
CLASS_TABLE = "norm1.emb.class_embedder.embedding_table.weight"  # of a block


class PatchTransformer(PatchedLatents):
    """The kind of network."""

    unit_time = False
    text_tokens = 120  # of PixArt-α; a DiT has none
    # as published, of 28 blocks of a DiT-XL/2
    default_blocks: frozenset[int] | None = frozenset((*range(1, 6), *range(7, 12)))

    def recognises(self, root: Any) -> bool:
        """Say whether it has the parts of a DiT."""
        return set(root._modules) >= PARTS

    def blocks(self, root: Any) -> Iterator[BlockPlace]:
        """Yield the blocks."""
        shared = blocks_before_label(root)
        for number, block in enumerate(root.transformer_blocks):
            if has_self_attention(block):
                yield BlockPlace(block, BASIC_BLOCK, root.config.patch_size, None, number < shared, number < shared)

    def flops(self, root: Any, latent: Grid, context: int) -> int:
        """Return the operations of one forward."""
        grid = self.root_grid(root, latent)
        total = convolutions(root.pos_embed, grid)
        for name, module in root.named_children():
            if name not in ("pos_embed", "transformer_blocks"):
                per_token = name.startswith("proj_out") and name != "proj_out_1"
                total += linears([module], grid.n if per_token else context if name == "caption_projection" else 1)
        if "proj_out_1" in root._modules:  # DiT runs its first block's embedding a second time
            total += linears([root.transformer_blocks[0].norm1.emb], 1)
        return total + sum(BASIC_BLOCK.flops(b, Tokens.all(grid.n), context) for b in root.transformer_blocks)

    def flops_before_text(self, root: Any, latent: Grid) -> int:
        """Return the operations of the blocks that no label enters."""
        grid, count = self.root_grid(root, latent), blocks_before_label(root)
        if not count:
            return 0
        blocks = root.transformer_blocks[:count]
        return convolutions(root.pos_embed, grid) + sum(BASIC_BLOCK.flops(b, Tokens.all(grid.n), 1) for b in blocks)


def blocks_before_label(root: Any) -> int:
    """Return how many of a DiT's first blocks have the same embedding for every class, and so read no label.

    None, if no block reads it: such a network tells no classes apart.
    """
    blocks = list(root.transformer_blocks)
    count = sum(1 for _ in takewhile(_reads_no_label, blocks))
    return count if count < len(blocks) else 0


def _reads_no_label(block: nn.Module) -> bool:
    table = dict(block.named_parameters()).get(CLASS_TABLE)
    return table is not None and not table.is_meta and bool((table == table[0]).all())
