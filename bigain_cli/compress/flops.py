"""The arithmetic of a forward pass, predicted from shapes: 2 per multiply-add in matrix products and convolutions.

In: a network, its latent's size, the number of text tokens; out: operations for one sample. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn

from bigain_cli.compress.plan import Grid
from bigain_cli.compress.sites import is_unet, stages


class Tokens(NamedTuple):
    """The number of tokens that each part of a block works on."""

    queries: int
    keys: int
    cross: int
    mlp: int

    @staticmethod
    def all(n: int) -> Tokens:
        """Return the numbers of an uncompressed block."""
        return Tokens(n, n, n, n)


def forward_flops(root: Any, latent: Grid, context: int) -> int:
    """Return the operations of one uncompressed forward pass."""
    return _unet(root, latent, context) if is_unet(root) else _patch_transformer(root, latent, context)


def block_flops(block: Any, tokens: Tokens, context: int) -> int:
    """Return the operations of one transformer block."""
    total = _attention(block.attn1, tokens.queries, tokens.keys) + _linears([block.ff], tokens.mlp)
    if block.attn2 is not None:
        keys = context if block.attn2.is_cross_attention else tokens.cross
        total += _attention(block.attn2, tokens.cross, keys)
    rest = [child for name, child in block.named_children() if name not in ("attn1", "attn2", "ff", "fuser")]
    return total + _linears(rest, 1)


def _unet(unet: Any, latent: Grid, context: int) -> int:
    total = _convolution(unet.conv_in, latent) + _convolution(unet.conv_out, latent)
    for name in ("time_embedding", "class_embedding"):
        total += _linears([getattr(unet, name, None)], 1)
    total += _added_embedding(getattr(unet, "add_embedding", None), context)
    total += _linears([getattr(unet, "encoder_hid_proj", None)], context)
    for stage in stages(unet, latent):
        for resnet in stage.module.resnets:
            total += _convolutions(resnet, stage.grid) + _linears([resnet], 1)
        for host in getattr(stage.module, "attentions", None) or ():
            total += _block_stack(host, stage.grid, context)
        for kind in ("downsamplers", "upsamplers"):
            for sampler in getattr(stage.module, kind, None) or ():
                total += _convolutions(sampler, stage.grid_after) + _linears([sampler], 1)
    return total


def _added_embedding(embedding: Any, context: int) -> int:
    """Return the operations of the added embedding; to pool the text, its mean attends to all tokens and itself."""
    if embedding is None or "pool" not in embedding._modules:
        return _linears([embedding], 1)
    pool, keys = embedding.pool, context + 1
    width = pool.q_proj.out_features
    once = _linears([pool.q_proj, embedding.proj], 1)
    return once + _linears([pool.k_proj, pool.v_proj], keys) + 4 * keys * width


def _block_stack(host: Any, grid: Grid, context: int) -> int:
    """Return the operations of a stack of blocks inside a U-Net."""
    ends = (host.proj_in, host.proj_out)
    total = sum(_convolution(p, grid) if isinstance(p, nn.Conv2d) else _linears([p], grid.n) for p in ends)
    return total + sum(block_flops(block, Tokens.all(grid.n), context) for block in host.transformer_blocks)


def _patch_transformer(root: Any, latent: Grid, context: int) -> int:
    patch = root.config.patch_size
    grid = Grid(latent.h // patch, latent.w // patch)
    total = _convolutions(root.pos_embed, grid)
    for name, child in root.named_children():
        if name not in ("pos_embed", "transformer_blocks"):
            per_token = name.startswith("proj_out") and name != "proj_out_1"
            total += _linears([child], grid.n if per_token else context if name == "caption_projection" else 1)
    if "proj_out_1" in root._modules:  # DiT runs its first block's embedding a second time
        total += _linears([root.transformer_blocks[0].norm1.emb], 1)
    return total + sum(block_flops(block, Tokens.all(grid.n), context) for block in root.transformer_blocks)


def _attention(attention: Any, queries: int, keys: int) -> int:
    in_and_out = _linears([attention.to_q, attention.to_out], queries)
    return in_and_out + _linears([attention.to_k, attention.to_v], keys) + 4 * queries * keys * attention.inner_dim


def _linears(modules: Iterable[nn.Module | None], rows: int) -> int:
    inner = [m for module in modules if module is not None for m in module.modules() if isinstance(m, nn.Linear)]
    return sum(2 * rows * m.in_features * m.out_features for m in inner)


def _convolutions(module: nn.Module, grid: Grid) -> int:
    return sum(_convolution(m, grid) for m in module.modules() if isinstance(m, nn.Conv2d))


def _convolution(conv: nn.Conv2d, grid: Grid) -> int:
    """Return the operations of a convolution, by the size of its output."""
    return 2 * grid.n * conv.weight.numel()
