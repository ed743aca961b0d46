"""A U-Net's layers in the order they run, each with its scale and grid, and which of them read the text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from bigain_cli.compress.plan import Grid


@dataclass(frozen=True)
class Stage:
    """One down, middle or up block."""

    module: Any
    scale: int
    grid: Grid
    grid_after: Grid  # after its down- or upsampler


@dataclass(frozen=True)
class Layer:
    """A ResNet block, a host of attention, or a down- or upsampler."""

    module: Any
    scale: int
    grid: Grid  # of its output


def layers(unet: Any, latent: Grid) -> Iterator[Layer]:
    """Yield the layers between the first convolution and the last."""
    for stage in stages(unet, latent):
        pairs = zip_longest(stage.module.resnets, getattr(stage.module, "attentions", None) or ())
        for module in (each for pair in pairs for each in pair if each is not None):
            yield Layer(module, stage.scale, stage.grid)
        for kind in ("downsamplers", "upsamplers"):
            for sampler in getattr(stage.module, kind, None) or ():
                yield Layer(sampler, stage.scale, stage.grid_after)


def attentions_of(layer: Any) -> tuple[Any, ...]:
    """Return the transformer blocks of a layer, or the layer itself if it is an attention."""
    if is_plain_attention(layer):
        return (layer,)
    return tuple(getattr(layer, "transformer_blocks", ()))


def is_plain_attention(module: Any) -> bool:
    """Recognise an attention that is no part of a transformer block by its parts."""
    return {"to_q", "to_k", "to_v"} <= set(module._modules)


def reads_text(block: Any) -> bool:
    """Say whether an attention, or any in a transformer block, reads the text."""
    inside = [block] if is_plain_attention(block) else [block.attn1, block.attn2]
    return any(each is not None and (each.is_cross_attention or each.added_kv_proj_dim is not None) for each in inside)


def has_cross_attention(layer: Any) -> bool:
    """Say whether a layer of any kind has an attention to the text inside."""
    return any(getattr(module, "is_cross_attention", False) for module in layer.modules())


def text_first(unet: Any) -> bool:
    """Say whether the text is added to the time, and so enters every layer."""
    return unet._modules.get("add_embedding") is not None


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
