"""U-Nets of diffusers: Stable Diffusion 1, 2 and XL, and others with the same parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from bigain_cli.compress.networks.basic_block import BASIC_BLOCK, has_self_attention
from bigain_cli.compress.networks.patched_latents import configured_size
from bigain_cli.compress.operation_counts import child, convolution, convolutions, linears
from bigain_cli.compress.plan import Grid
from bigain_cli.compress.site import BlockPlace, Tokens

ANY_SIZE = Grid(64, 64)  # to walk through the levels
PARTS = {"down_blocks", "up_blocks", "conv_in"}


@dataclass(frozen=True)
class Stage:
    """One down, middle or up block."""

    module: Any
    scale: int
    grid: Grid
    grid_after: Grid  # after its down- or upsampler


class UNet:
    """The kind of network: the grid of each level is read where its blocks are."""

    unit_time = False
    text_tokens = 77
    default_blocks: frozenset[int] | None = None

    def recognises(self, root: Any) -> bool:
        """Say whether it has the parts of a U-Net."""
        return set(root._modules) >= PARTS

    def blocks(self, root: Any) -> Iterator[BlockPlace]:
        """Yield the blocks of all attention modules."""
        for stage in stages(root, ANY_SIZE):
            for host in getattr(stage.module, "attentions", None) or ():
                for block in getattr(host, "transformer_blocks", ()):
                    if has_self_attention(block):
                        yield BlockPlace(block, BASIC_BLOCK, stage.scale, host)

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
        total = convolution(root.conv_in, latent) + convolution(root.conv_out, latent)
        total += linears([child(root, "time_embedding"), child(root, "class_embedding")], 1)
        total += _added_embedding(child(root, "add_embedding"), context)
        total += linears([child(root, "encoder_hid_proj")], context)
        for stage in stages(root, latent):
            for resnet in stage.module.resnets:
                total += convolutions(resnet, stage.grid) + linears([resnet], 1)
            for host in getattr(stage.module, "attentions", None) or ():
                total += _block_stack(host, stage.grid, context)
            for kind in ("downsamplers", "upsamplers"):
                for sampler in getattr(stage.module, kind, None) or ():
                    total += convolutions(sampler, stage.grid_after) + linears([sampler], 1)
        return total


def stages(unet: Any, latent: Grid) -> list[Stage]:
    """Walk a U-Net and follow the size of its feature maps."""
    scale, grid, sizes, found = 1, latent, {1: latent}, []
    for module in unet.down_blocks:
        samplers = getattr(module, "downsamplers", None)
        after = _downsampled(samplers[0], grid) if samplers else grid
        found.append(Stage(module, scale, grid, after))
        scale, grid = (scale * 2 if samplers else scale), after
        sizes[scale] = grid
    if unet.mid_block is not None:
        found.append(Stage(unet.mid_block, scale, grid, grid))
    for module in unet.up_blocks:
        below = scale
        scale = scale // 2 if getattr(module, "upsamplers", None) else scale
        found.append(Stage(module, below, sizes[below], sizes[scale]))
    return found


def _downsampled(sampler: Any, grid: Grid) -> Grid:
    """Return the grid after a stride of two; without padding, one row and column are added at the end only."""
    ceil = getattr(sampler, "use_conv", False) and sampler.padding == 1
    return Grid(*((side + ceil) // 2 for side in grid))


def _added_embedding(embedding: nn.Module | None, context: int) -> int:
    """Return the operations of the added embedding; to pool the text, its mean attends to all tokens and itself."""
    pool: Any = None if embedding is None else child(embedding, "pool")
    if pool is None:
        return linears([embedding], 1)
    keys, width = context + 1, pool.q_proj.out_features
    once = linears([pool.q_proj, child(embedding, "proj")], 1)  # type: ignore[arg-type]
    return once + linears([pool.k_proj, pool.v_proj], keys) + 4 * keys * width


def _block_stack(host: Any, grid: Grid, context: int) -> int:
    """Return the operations of a stack of blocks."""
    ends = (host.proj_in, host.proj_out)
    total = sum(convolution(p, grid) if isinstance(p, nn.Conv2d) else linears([p], grid.n) for p in ends)
    return total + sum(BASIC_BLOCK.flops(block, Tokens.all(grid.n), context) for block in host.transformer_blocks)
