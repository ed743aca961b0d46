"""U-Nets of diffusers: Stable Diffusion 1, 2 and XL, and others with the same parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

from torch import nn

from bigain_cli.compress.networks.basic_block import BASIC_BLOCK, has_self_attention
from bigain_cli.compress.networks.patched_latents import configured_size
from bigain_cli.compress.networks.plain_attention import PLAIN_ATTENTION
from bigain_cli.compress.networks.unet_layers import (
    Layer,
    attentions_of,
    has_cross_attention,
    is_plain_attention,
    layers,
    reads_text,
    stages,
    text_first,
)
from bigain_cli.compress.operation_counts import attention_flops, child, convolution, convolutions, linears
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.site import BlockPlace, Tokens

ANY_SIZE = Grid(64, 64)  # to walk through the levels
PARTS = {"down_blocks", "up_blocks", "conv_in"}


class UNet:
    """The kind of network: the grid of each level is read where its blocks are."""

    unit_time = False
    text_tokens = 77
    default_blocks: frozenset[int] | None = None

    def recognises(self, root: Any) -> bool:
        """Say whether it has the parts of a U-Net."""
        return set(root._modules) >= PARTS

    def blocks(self, root: Any) -> Iterator[BlockPlace]:
        """Yield the blocks of all attention modules, and the attentions outside any block."""
        before_text = not text_first(root)
        for layer in layers(root, ANY_SIZE):
            blocks = attentions_of(layer.module)
            for block in blocks:
                if is_plain_attention(block) and not reads_text(block):
                    yield BlockPlace(block, PLAIN_ATTENTION, layer.scale, layer.module, before_text)
                elif not is_plain_attention(block) and has_self_attention(block):
                    yield BlockPlace(block, BASIC_BLOCK, layer.scale, layer.module, before_text)
                before_text = before_text and not reads_text(block)
            before_text = before_text and (bool(blocks) or not has_cross_attention(layer.module))

    def configured_latent(self, root: Any) -> Grid | None:
        """Return the configured size."""
        return configured_size(root.config.sample_size)

    def latent(self, root: Any, arguments: Mapping[str, Any], expected: Grid) -> Grid:
        """Return the sample's size."""
        return Grid(*arguments["sample"].shape[-2:])

    def root_grid(self, root: Any, latent: Grid) -> None:
        """Return nothing: levels differ."""

    def grid(self, root: Any, latent: Grid, scale: int) -> Grid:
        """Return the grid of a level."""
        return next(stage.grid for stage in stages(root, latent) if stage.scale == scale)

    def flops(self, root: Any, latent: Grid, context: int) -> int:
        """Return the operations of one forward."""
        return sum(step.flops for step in _steps(root, latent, context))

    def flops_before_text(self, root: Any, latent: Grid) -> int:
        """Return the operations before the first that reads the text."""
        steps = takewhile(lambda step: not step.reads_text, _steps(root, latent, 1))
        return sum(step.flops for step in steps)

    def flops_before_block(self, root: Any, latent: Grid, context: int, block: Any) -> int:
        """Return the operations before one of the blocks."""
        steps = takewhile(lambda step: step.begins is not block, _steps(root, latent, context))
        return sum(step.flops for step in steps)


class Step(NamedTuple):
    """Operations that run one after the other."""

    flops: int
    reads_text: bool = False
    begins: Any = None  # the block whose first operations they are


def _steps(unet: Any, latent: Grid, context: int) -> Iterator[Step]:
    """Yield the operations in the order they run, but an added text first: after it nothing is shared."""
    yield Step(_added_embedding(child(unet, "add_embedding"), context), text_first(unet))
    yield Step(linears([child(unet, "time_embedding"), child(unet, "class_embedding")], 1))
    projection = linears([child(unet, "encoder_hid_proj")], context)
    yield Step(projection, projection > 0)
    yield Step(convolution(unet.conv_in, latent))
    for layer in layers(unet, latent):
        yield from _layer_steps(layer, context)
    yield Step(convolution(unet.conv_out, latent))


def _layer_steps(layer: Layer, context: int) -> Iterator[Step]:
    """Yield the operations of a ResNet block, of an attention, of a stack of blocks, or of a sampler."""
    module, grid = layer.module, layer.grid
    blocks = attentions_of(module)
    if not blocks:
        yield Step(convolutions(module, grid) + linears([module], 1), has_cross_attention(module))
    elif is_plain_attention(module):
        yield Step(attention_flops(module, grid.n, grid.n), reads_text(module), module)
    else:
        yield Step(_projection(module.proj_in, grid))
        for block in blocks:
            first = attention_flops(block.attn1, grid.n, grid.n)
            yield Step(first, block.attn1.is_cross_attention, block)
            yield Step(BASIC_BLOCK.flops(block, Tokens.all(grid.n), context) - first, reads_text(block))
        yield Step(_projection(module.proj_out, grid))


def _projection(module: nn.Module, grid: Grid) -> int:
    return convolution(module, grid) if isinstance(module, nn.Conv2d) else linears([module], grid.n)


def _added_embedding(embedding: nn.Module | None, context: int) -> int:
    """Return the operations of the added embedding; to pool the text, its mean attends to all tokens and itself."""
    pool: Any = None if embedding is None else child(embedding, "pool")
    if pool is None:
        return linears([embedding], 1)
    keys, width = context + 1, pool.q_proj.out_features
    once = linears([pool.q_proj, child(embedding, "proj")], 1)  # type: ignore[arg-type]
    return once + linears([pool.k_proj, pool.v_proj], keys) + 4 * keys * width
