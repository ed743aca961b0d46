"""From the shapes of a checkpoint's tensors to the diffusers configurations of its U-Net, VAE and text encoder.

Raises KeyError or ValueError for what no Stable Diffusion has. Must not know files.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from bigain_cli.backbones.single_checkpoint import Shapes

HEADS, HEAD_WIDTH = 8, 64  # Stable Diffusion 1 has 8 heads everywhere, 2 and both text encoders have heads of 64
OPEN_CLIP_BLOCKS = 24  # of the text encoder that Stable Diffusion 2 was trained with; it read the last but one
VAE_SCALING = 0.18215  # of every Stable Diffusion 1 and 2; no tensor tells it


def is_second(shapes: Shapes) -> bool:
    """Tell Stable Diffusion 2 from 1: its U-Net projects tokens linearly, not by a 1×1 convolution."""
    return len(shapes["middle_block.1.proj_in.weight"]) == 2


def unet_config(shapes: Shapes) -> dict[str, Any]:
    """Read the U-Net's architecture off its shapes."""
    levels = _levels(shapes)
    channels = [shapes[f"input_blocks.{level[0]}.0.out_layers.3.weight"][0] for level in levels]
    depths = [_depth(shapes, f"input_blocks.{level[0]}.1") for level in levels]
    second = is_second(shapes)
    heads = [_heads(width) for width in channels] if second else HEADS
    return {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": channels,
        "layers_per_block": len(levels[0]),
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        # the middle takes the last entry; at a level without attention the entry is not looked at
        "transformer_layers_per_block": [depth or 1 for depth in depths[:-1]] + [_depth(shapes, "middle_block.1")],
        "cross_attention_dim": shapes["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
        "attention_head_dim": heads,  # diffusers means the number of heads
        "use_linear_projection": second,
    }


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """Read the VAE's architecture off its shapes."""
    levels = _number(shapes, "encoder.down.{}.block.0.conv2.weight")
    channels = [shapes[f"encoder.down.{level}.block.0.conv2.weight"][0] for level in range(levels)]
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": channels,
        "layers_per_block": _number(shapes, "encoder.down.0.block.{}.conv2.weight"),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "scaling_factor": VAE_SCALING,
    }


def text_config(shapes: Shapes) -> dict[str, Any]:
    """Read the text encoder's architecture off its shapes, in CLIP's layout or in OpenCLIP's."""
    if "model.token_embedding.weight" in shapes:
        embeddings, positions = "model.token_embedding.weight", "model.positional_embedding"
        inner = shapes["model.transformer.resblocks.0.mlp.c_fc.weight"][0]
        layers, activation = _kept(shapes), "gelu"
    else:
        embeddings, positions = "embeddings.token_embedding.weight", "embeddings.position_embedding.weight"
        inner = shapes["encoder.layers.0.mlp.fc1.weight"][0]
        layers, activation = _number(shapes, "encoder.layers.{}.mlp.fc1.weight"), "quick_gelu"
    pieces, width = shapes[embeddings]
    return {
        "vocab_size": pieces,
        "bos_token_id": pieces - 2,
        "eos_token_id": pieces - 1,
        "max_position_embeddings": shapes[positions][0],
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": inner,
        "num_attention_heads": _heads(width),
        "num_hidden_layers": layers,
        "hidden_act": activation,
    }


def _kept(shapes: Shapes) -> int:
    """Count the text encoder's blocks that are read: all but the last, which some files have already dropped."""
    blocks = _number(shapes, "model.transformer.resblocks.{}.mlp.c_fc.weight")
    whole = blocks == OPEN_CLIP_BLOCKS or "model.text_projection" in shapes
    return blocks - 1 if whole and blocks != OPEN_CLIP_BLOCKS - 1 else blocks


def _levels(shapes: Shapes) -> list[list[int]]:
    """Return the numbers of the residual blocks at each resolution."""
    levels: list[list[int]] = [[]]
    for number in count(1):
        if f"input_blocks.{number}.0.in_layers.2.weight" in shapes:
            levels[-1].append(number)
        elif f"input_blocks.{number}.0.op.weight" in shapes:
            levels.append([])
        else:
            break
    if not levels[0] or len({len(level) for level in levels}) > 1:
        raise ValueError(f"{[len(level) for level in levels]} blocks per level")
    return levels


def _depth(shapes: Shapes, block: str) -> int:
    return _number(shapes, block + ".transformer_blocks.{}.norm1.weight")


def _number(shapes: Shapes, pattern: str) -> int:
    """Count up from 0 for as long as the numbered tensor is there."""
    return next(number for number in count() if pattern.format(number) not in shapes)


def _heads(width: int) -> int:
    if width % HEAD_WIDTH:
        raise ValueError(f"{width} channels do not make heads of {HEAD_WIDTH}")
    return width // HEAD_WIDTH
