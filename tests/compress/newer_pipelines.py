"""Tiny random pipelines of the newer families, and what each wants in place of a prompt."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from compress_nets import CONTEXT, pixart
from diffusers import (
    AutoencoderKL,
    ChromaPipeline,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    PixArtSigmaPipeline,
    PRXPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
)
from joint_nets import TEXT, chroma, flux, pooled, prx, sd3, sdxl, texts


def vae(scale: int, channels: int = 4) -> AutoencoderKL:
    torch.manual_seed(0)
    levels = scale.bit_length()
    return AutoencoderKL(
        block_out_channels=(4,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=channels,
        norm_num_groups=2,
        scaling_factor=1.0,
        shift_factor=0.0,
    ).eval()


def flow() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=3.0)


def _sdxl() -> tuple[Any, dict[str, Any]]:
    words = {"text_encoder": None, "text_encoder_2": None, "tokenizer": None, "tokenizer_2": None}
    pipeline = StableDiffusionXLPipeline(
        unet=sdxl(), vae=vae(2), scheduler=DDIMScheduler(), **words, add_watermarker=False
    )
    embeds = {"prompt_embeds": texts(1), "pooled_prompt_embeds": pooled(1)}
    without = {"negative_prompt_embeds": -texts(1), "negative_pooled_prompt_embeds": -pooled(1)}
    return pipeline, {**embeds, **without}


def _pixart() -> tuple[Any, dict[str, Any]]:
    words = {"text_encoder": None, "tokenizer": None}
    pipeline = PixArtSigmaPipeline(transformer=pixart(), vae=vae(2), scheduler=DDIMScheduler(), **words)
    text, mask = torch.linspace(-1, 1, CONTEXT * 12).view(1, CONTEXT, 12), torch.ones(1, CONTEXT)
    embeds = {"prompt_embeds": text, "prompt_attention_mask": mask}
    without = {"negative_prompt_embeds": -text, "negative_prompt_attention_mask": mask, "negative_prompt": None}
    return pipeline, {**embeds, **without, "use_resolution_binning": False}


def _sd3() -> tuple[Any, dict[str, Any]]:
    names = ("text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2", "tokenizer_3")
    pipeline = StableDiffusion3Pipeline(
        transformer=sd3(),
        vae=vae(2),
        scheduler=flow(),
        **dict.fromkeys(names),  # type: ignore[arg-type]
    )
    embeds = {"prompt_embeds": texts(1), "pooled_prompt_embeds": pooled(1)}
    without = {"negative_prompt_embeds": -texts(1), "negative_pooled_prompt_embeds": -pooled(1)}
    return pipeline, {**embeds, **without}


def _flux() -> tuple[Any, dict[str, Any]]:
    names = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    pipeline = FluxPipeline(
        transformer=flux(guidance=True),
        vae=vae(2),
        scheduler=flow(),
        **dict.fromkeys(names),  # type: ignore[arg-type]
    )
    return pipeline, {"prompt_embeds": texts(1), "pooled_prompt_embeds": pooled(1)}


def _chroma() -> tuple[Any, dict[str, Any]]:
    words = {"text_encoder": None, "tokenizer": None}
    pipeline = ChromaPipeline(transformer=chroma(), vae=vae(2), scheduler=flow(), **words)
    mask = torch.arange(TEXT)[None] < TEXT - 1
    embeds = {"prompt_embeds": texts(1), "prompt_attention_mask": mask}
    return pipeline, {**embeds, "negative_prompt_embeds": -texts(1), "negative_prompt_attention_mask": mask}


def _prx() -> tuple[Any, dict[str, Any]]:
    words = {"text_encoder": None, "tokenizer": None}
    with warnings.catch_warnings():  # diffusers 0.42 warns of its own classes here
        warnings.simplefilter("ignore", FutureWarning)
        pipeline = PRXPipeline(transformer=prx(), vae=vae(2), scheduler=flow(), **words)
    mask = torch.arange(TEXT)[None] < TEXT - 1
    embeds = {"prompt_embeds": texts(1), "prompt_attention_mask": mask, "negative_prompt_embeds": -texts(1)}
    return pipeline, {**embeds, "negative_prompt_attention_mask": mask, "use_resolution_binning": False}


PIPELINES: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "sdxl": _sdxl,
    "pixart": _pixart,
    "sd3": _sd3,
    "flux": _flux,
    "chroma": _chroma,
    "prx": _prx,
}
SIZES = {"sdxl": (32, 24), "pixart": (16, 24), "sd3": (12, 16), "flux": (16, 24), "chroma": (16, 24), "prx": (16, 24)}
