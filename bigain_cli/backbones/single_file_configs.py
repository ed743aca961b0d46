"""From a single-file checkpoint's tensor shapes, metadata and name to the diffusers configurations of its parts.

What a file does not record is a guess, with a warning. Must not know how networks are made.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from safetensors import safe_open

from bigain_cli.errors import ModelError

Shapes = dict[str, tuple[int, ...]]
Config = dict[str, Any]

PREFIXES = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text_encoder": "cond_stage_model."}
CLIP = re.compile(r"cond_stage_model\.transformer\.(text_model\.)?")
SUPPORTED = "Supported: a whole Stable Diffusion 1.x or 2.x in its original layout, or a diffusers folder."
HEADS, HEAD_WIDTH = 8, 64  # Stable Diffusion 1 has 8 heads everywhere, 2 and both text encoders have heads of 64
OPEN_CLIP_BLOCKS = 24  # of Stable Diffusion 2's text encoder; the output of the last but one is used
VAE_SCALING = 0.18215  # of every Stable Diffusion 1 and 2; no tensor shows it
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SIZES = {512: 64, 768: 96}  # pixels along a side, and latent positions with a VAE that halves three times
V = "v_prediction"
# By a file's metadata on its prediction type or its architecture (the ModelSpec standard).
PREDICTIONS = {"epsilon": "epsilon", "v": V, V: V, "stable-diffusion-v2-512": "epsilon", "stable-diffusion-v2-768-v": V}
# The spread of the last such bias distinguishes the published 2.x models (ComfyUI relies on it); for others a guess.
BIAS, SPREAD = re.compile(r"model\.diffusion_model\.output_blocks\.(\d+)\.1\.transformer_blocks\.0\.norm1\.bias"), 0.09


@dataclass(frozen=True)
class Header:
    """A file's path, tensor shapes and metadata."""

    path: Path
    shapes: Shapes
    metadata: dict[str, str]

    def under(self, prefix: str) -> Shapes:
        """Return the shapes below a prefix, without the prefix."""
        return {key.removeprefix(prefix): shape for key, shape in self.shapes.items() if key.startswith(prefix)}

    def has_word(self, pattern: str) -> bool:
        """Tell whether the file's name has this word, not as a part of a longer one."""
        return re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", self.path.stem.casefold()) is not None


def read_configs(name: str, header: Header) -> dict[str, Config]:
    """Return the configurations of the networks and the scheduler; warn of a guess."""
    text = {CLIP.sub(PREFIXES["text_encoder"], key): shape for key, shape in header.shapes.items()}
    try:
        configs = {
            "unet": unet_config(header.under(PREFIXES["unet"])),
            "vae": vae_config(header.under(PREFIXES["vae"])),
            "text_encoder": text_config(Header(header.path, text, {}).under(PREFIXES["text_encoder"])),
        }
    except (KeyError, ValueError, IndexError) as problem:
        why = f"incomplete, or not built like Stable Diffusion ({' '.join(map(str, problem.args))})"
        raise ModelError(f"model {name}", why, SUPPORTED) from problem
    width, wanted = configs["text_encoder"]["hidden_size"], configs["unet"]["cross_attention_dim"]
    if width != wanted:
        why = f"the text encoder writes {width} numbers per token, the U-Net reads {wanted}"
        raise ModelError(f"model {name}", why, "Use a file whose parts belong together.")
    _add_schedule_and_size(name, header, configs)
    return configs


def unet_config(shapes: Shapes) -> Config:
    """Read the U-Net's architecture from its shapes; 2.x projects tokens linearly, 1.x by a 1×1 convolution."""
    blocks = len({key.split(".")[1] for key in shapes if key.startswith("input_blocks.")})
    kinds = ["/" if f"input_blocks.{block}.0.op.weight" in shapes else "r" for block in range(1, blocks)]
    levels = [len(level) for level in "".join(kinds).split("/")]
    if len(set(levels)) > 1 or not levels[0]:
        raise ValueError(f"{levels} blocks per level")
    firsts = range(1, blocks, levels[0] + 1)
    channels = [shapes[f"input_blocks.{first}.0.out_layers.3.weight"][0] for first in firsts]
    attention = [f"input_blocks.{first}.1" for first in firsts] + ["middle_block.1"]
    *depths, middle = (_count(shapes, block + ".transformer_blocks.{}.norm1.weight") for block in attention)
    is_sd2 = len(shapes["middle_block.1.proj_in.weight"]) == 2
    return {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": channels,
        "layers_per_block": levels[0],
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        # the middle takes the last entry; at a level without attention the entry is not used
        "transformer_layers_per_block": [depth or 1 for depth in depths[:-1]] + [middle],
        "cross_attention_dim": shapes["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
        # diffusers means the number of heads
        "attention_head_dim": [_heads(width) for width in channels] if is_sd2 else HEADS,
        "use_linear_projection": is_sd2,
    }


def vae_config(shapes: Shapes) -> Config:
    """Read the VAE's architecture from its shapes."""
    levels = _count(shapes, "encoder.down.{}.block.0.conv2.weight")
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": [shapes[f"encoder.down.{level}.block.0.conv2.weight"][0] for level in range(levels)],
        "layers_per_block": _count(shapes, "encoder.down.0.block.{}.conv2.weight"),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "scaling_factor": VAE_SCALING,
    }


def text_config(shapes: Shapes) -> Config:
    """Read the text encoder's architecture from its shapes, in CLIP's layout or in OpenCLIP's."""
    open_clip = "model.token_embedding.weight" in shapes
    if open_clip:
        table, positions = "model.token_embedding.weight", "model.positional_embedding"
        layer, activation = "model.transformer.resblocks.{}.mlp.c_fc.weight", "gelu"
    else:
        table, positions = "embeddings.token_embedding.weight", "embeddings.position_embedding.weight"
        layer, activation = "encoder.layers.{}.mlp.fc1.weight", "quick_gelu"
    (tokens, width), layers = shapes[table], _count(shapes, layer)
    # the output of OpenCLIP's last block is not used; some files lack it already
    has_last = layers == OPEN_CLIP_BLOCKS or (layers != OPEN_CLIP_BLOCKS - 1 and "model.text_projection" in shapes)
    return {
        "vocab_size": tokens,
        "bos_token_id": tokens - 2,
        "eos_token_id": tokens - 1,
        "max_position_embeddings": shapes[positions][0],
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": shapes[layer.format(0)][0],
        "num_attention_heads": _heads(width),
        "num_hidden_layers": layers - 1 if open_clip and has_last else layers,
        "hidden_act": activation,
    }


def _count(shapes: Shapes, pattern: str) -> int:
    """Count the numbered tensors, from 0."""
    return next(number for number in count() if pattern.format(number) not in shapes)


def _heads(width: int) -> int:
    if width % HEAD_WIDTH:
        raise ValueError(f"{width} channels do not make heads of {HEAD_WIDTH}")
    return width // HEAD_WIDTH


def _add_schedule_and_size(name: str, header: Header, configs: dict[str, Config]) -> None:
    """Add the scheduler and the size of the latents; a wrong guess makes wrong results, not an error."""
    unet, scale = configs["unet"], 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
    prediction, guess = _prediction(header, unet["use_linear_projection"])
    zero_snr = "ztsnr" in header.shapes
    configs["scheduler"] = SCHEDULE | {"prediction_type": prediction, "rescale_betas_zero_snr": zero_snr}
    size = unet["sample_size"] = _latent_size(header, unet, prediction, scale)
    if guess:
        height, width = size if isinstance(size, list) else (size, size)
        warnings.warn(
            f"model {name} does not say what it predicts; assumed {prediction} at {width * scale}×{height * scale} "
            f"pixels ({guess}). If that is wrong, so are the answers; a diffusers folder says it for sure.",
            stacklevel=2,
        )


def _prediction(header: Header, is_sd2: bool) -> tuple[str, str | None]:
    """Return the prediction type and, where the file does not record it (by ModelSpec or a flag), the reason for it."""
    if "v_pred" in header.shapes:
        return V, None
    for key in ("prediction_type", "architecture"):
        if recorded := PREDICTIONS.get(header.metadata.get(f"modelspec.{key}", "")):
            return recorded, None
    if header.has_word(r"v[-_. ]?pred(iction)?"):
        return V, "its file name says v-prediction"
    if not is_sd2:
        return "epsilon", "as Stable Diffusion 1.x does"
    if header.has_word("eps|epsilon"):
        return "epsilon", "its file name says epsilon"
    if header.has_word("768"):
        return V, "its file name says 768, as Stable Diffusion 2.x at that size does"
    if header.has_word("512|base"):
        return "epsilon", "its file name says 512 or base, as Stable Diffusion 2.x at that size does"
    if _spread(header) > SPREAD:
        return V, "its weights look like those of Stable Diffusion 2.x at 768 pixels"
    return "epsilon", "as the base model of Stable Diffusion 2.x does"


def _spread(header: Header) -> float:
    """Return the standard deviation of the last such bias, 0 if the network has none."""
    found = {int(match[1]): match[0] for match in map(BIAS.fullmatch, header.shapes) if match}
    if not found:
        return 0.0
    with safe_open(header.path, framework="pt") as file:
        return file.get_tensor(found[max(found)]).double().std(correction=0).item()


def _latent_size(header: Header, unet: Config, prediction: str, scale: int) -> int | list[int]:
    """Return the recorded size [h, w] if the network can halve it; else 768 or 512 pixels by name or prediction."""
    step = scale * 2 ** (len(unet["block_out_channels"]) - 1)
    recorded = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", header.metadata.get("modelspec.resolution", ""))
    width, height = map(int, recorded.groups()) if recorded else (0, 0)
    if min(width, height) > 0 and width % step == height % step == 0:
        return [height // scale, width // scale]
    if not unet["use_linear_projection"]:
        return SIZES[512]
    named = [size for size in SIZES if header.has_word(str(size))]
    return SIZES[named[0] if len(named) == 1 else 768 if prediction == V else 512]
