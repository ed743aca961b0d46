"""FLUX.1 and Chroma: packed latents, double blocks (text apart) and single blocks (text in front), rotary positions."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from bigain_cli.compress.networks.block_chain import BlockChain
from bigain_cli.compress.networks.flux_blocks import DOUBLE_BLOCK, SINGLE_BLOCK
from bigain_cli.compress.operation_counts import linears
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.site import BlockKind, BlockPlace
from bigain_cli.errors import ModelError

PACKED = 2  # latent cells per token along an axis
DEFAULT = Grid(128, 128)  # of diffusers' pipelines: 1024 pixels
PARTS = {"transformer_blocks", "single_transformer_blocks", "x_embedder", "context_embedder"}
LAST = ("norm_out", "proj_out")  # behind all blocks
BLOCKS = ("transformer_blocks", "single_transformer_blocks")


class Flux(BlockChain):
    """The kind of network. Its tokens come without a shape; `img_ids` holds each one's row and column."""

    unit_time = True
    text_tokens = 512
    default_blocks: frozenset[int] | None = None

    def __init__(self) -> None:
        self._seen: tuple[Any, Grid] = (lambda: None, DEFAULT)  # the last ids, weakly, and their grid

    def recognises(self, root: Any) -> bool:
        """Say whether it has the parts of FLUX, and its attention."""
        if not set(root._modules) >= PARTS:
            return False
        attentions = [block.attn for name in BLOCKS for block in root._modules[name]]
        return bool(attentions) and type(attentions[0]).__name__ == "FluxAttention"

    def blocks(self, root: Any) -> Iterator[BlockPlace]:
        """Yield the double blocks, then the single ones."""
        for block in root.transformer_blocks:
            yield BlockPlace(block, DOUBLE_BLOCK, PACKED, None)
        for block in root.single_transformer_blocks:
            yield BlockPlace(block, SINGLE_BLOCK, PACKED, None)

    def configured_latent(self, root: Any) -> Grid:
        """Return the pipeline's default: a network has positions for any size."""
        return DEFAULT

    def latent(self, root: Any, arguments: Mapping[str, Any], expected: Grid) -> Grid:
        """Return the size before packing; a graph that is being compiled cannot read it, and takes the expected one."""
        ids, n = arguments["img_ids"], arguments["hidden_states"].shape[1]
        if torch.compiler.is_compiling() or ids.is_meta:
            if self.root_grid(root, expected).n == n:
                return expected
            why = f"it has {n} tokens, not those of a latent of {expected.h}x{expected.w}"
            hint = "A compiled network cannot read its grid: apply(…, latent=(height, width))."
            raise ModelError(f"model {type(root).__name__}", why, hint)
        grid = self._read(ids, n, type(root).__name__)
        return Grid(grid.h * PACKED, grid.w * PACKED)

    def root_grid(self, root: Any, latent: Grid) -> Grid:
        """Return the packed tokens."""
        return self.grid(root, latent, PACKED)

    def grid(self, root: Any, latent: Grid, scale: int) -> Grid:
        """Return the packed tokens."""
        return Grid(latent.h // scale, latent.w // scale)

    def flops_before_text(self, root: Any, latent: Grid) -> int:
        """Return 0: text, or its pooled form, enters with the time or in the first block."""
        return 0

    def chain(self, root: Any) -> Iterator[tuple[Any, BlockKind]]:
        """Yield the blocks with their kinds."""
        return ((place.block, place.kind) for place in self.blocks(root))

    def flops_before_blocks(self, root: Any, latent: Grid, context: int) -> int:
        """Return the operations that embed all inputs; Chroma's `distilled_guidance_layer` has a row per modulation."""
        rows = {"x_embedder": self.root_grid(root, latent).n, "context_embedder": context}
        total = 0
        for name, module in root.named_children():
            if name not in (*BLOCKS, *LAST):
                once = root.time_text_embed.mod_proj.shape[0] if name == "distilled_guidance_layer" else 1
                total += linears([module], rows.get(name, once))
        return total

    def flops_behind_blocks(self, root: Any, latent: Grid) -> int:
        """Return the operations of the last norm and of the output."""
        return linears([root.norm_out], 1) + linears([root.proj_out], self.root_grid(root, latent).n)

    def _read(self, ids: Tensor, n: int, name: str) -> Grid:
        """Return rows and columns, which the last token names; read once for all forwards with the same ids."""
        seen, grid = self._seen
        if seen() is ids:
            return grid
        last = (ids[0] if ids.ndim == 3 else ids)[-1].tolist()
        grid = Grid(int(last[1]) + 1, int(last[2]) + 1)
        if grid.n != n:
            why = f"it has {n} image tokens, and the last one is at row {grid.h} and column {grid.w}"
            raise ModelError(f"model {name}", why, "Only the tokens of one image can be compressed.")
        self._seen = weakref.ref(ids), grid
        return grid
