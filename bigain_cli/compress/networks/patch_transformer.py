"""DiT and PixArt: transformers over the latent's patches, with plain blocks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from torch import nn

from bigain_cli.compress.networks.basic_block import BASIC_BLOCK, BasicBlock, has_self_attention
from bigain_cli.compress.networks.patched_latents import PatchedLatents
from bigain_cli.compress.operation_counts import convolutions, linears
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.site import BlockPlace, Tokens

PARTS = {"transformer_blocks", "pos_embed"}
OUTPUT, MODULATION = "proj_out", "proj_out_1"  # how the names of the last layers begin; a DiT's that is no output
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

    def chain(self, root: Any) -> Iterator[tuple[Any, BasicBlock]]:
        """Yield all blocks with their kind."""
        return ((block, BASIC_BLOCK) for block in root.transformer_blocks)

    def flops_before_blocks(self, root: Any, latent: Grid, context: int) -> int:
        """Return the operations that embed patches, time and text."""
        total = convolutions(root.pos_embed, self.root_grid(root, latent))
        for name, module in root.named_children():
            if name not in ("pos_embed", "transformer_blocks") and not name.startswith(OUTPUT):
                total += linears([module], context if name == "caption_projection" else 1)
        return total

    def flops_behind_blocks(self, root: Any, latent: Grid) -> int:
        """Return the operations of the output; a DiT embeds time and class by its first block a second time."""
        n, outputs = self.root_grid(root, latent).n, [name for name in root._modules if name.startswith(OUTPUT)]
        total = sum(linears([root.get_submodule(name)], 1 if name == MODULATION else n) for name in outputs)
        return total + (linears([root.transformer_blocks[0].norm1.emb], 1) if MODULATION in outputs else 0)

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
