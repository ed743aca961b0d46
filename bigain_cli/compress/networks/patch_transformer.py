"""DiT and PixArt: transformers over the latent's patches, with plain blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bigain_cli.compress.networks.basic_block import BASIC_BLOCK, has_self_attention
from bigain_cli.compress.networks.unet import configured_size
from bigain_cli.compress.operation_counts import convolutions, linears
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.site import BlockPlace, Tokens

PARTS = {"transformer_blocks", "pos_embed"}


class PatchTransformer:
    """The kind of network."""

    unit_time = False
    text_tokens = 120  # of PixArt-α; a DiT has none
    default_blocks = frozenset((*range(1, 6), *range(7, 12)))  # as published, of 28 blocks of a DiT-XL/2

    def recognises(self, root: Any) -> bool:
        """Say whether it has the parts of a DiT."""
        return set(root._modules) >= PARTS

    def blocks(self, root: Any) -> Iterator[BlockPlace]:
        """Yield the blocks."""
        for block in root.transformer_blocks:
            if has_self_attention(block):
                yield BlockPlace(block, BASIC_BLOCK, root.config.patch_size, None)

    def configured_latent(self, root: Any) -> Grid | None:
        """Return the configured size."""
        return configured_size(root.config.sample_size)

    def latent(self, root: Any, arguments: Mapping[str, Any], expected: Grid) -> Grid:
        """Return the sample's size."""
        return Grid(*arguments["hidden_states"].shape[-2:])

    def root_grid(self, root: Any, latent: Grid) -> Grid:
        """Return the patches."""
        return self.grid(root, latent, root.config.patch_size)

    def grid(self, root: Any, latent: Grid, scale: int) -> Grid:
        """Return the patches."""
        return Grid(latent.h // scale, latent.w // scale)

    def flops_before_text(self, root: Any, latent: Grid) -> int:
        """Return 0: text, or its pooled form, enters with the time or in the first block."""
        return 0

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
