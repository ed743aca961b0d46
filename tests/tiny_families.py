"""Tiny random models of today's families, saved as real diffusers folders by diffusers' own pipelines."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny_models
import torch
from diffusers import (
    AutoencoderKL,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    PRXPipeline,
    PRXTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tiny_models import tokenizer as clip_tokenizer
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    GemmaTokenizerFast,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)
from transformers.models.t5gemma.configuration_t5gemma import T5GemmaConfig, T5GemmaModuleConfig
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

from bigain_cli.backbones.t5_gemma import T5GemmaTextEncoder

WIDTH = 16  # of every text encoder


def clip(kind: Callable[[CLIPTextConfig], Any] = CLIPTextModel, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return _stirred(kind(tiny_models.clip_config(WIDTH, layers=3, pad_token_id=189)))


def t5(width: int = WIDTH) -> T5EncoderModel:
    torch.manual_seed(5)
    config = T5Config(
        vocab_size=128, d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return T5EncoderModel(config)


def t5_tokenizer() -> T5TokenizerFast:
    """Make a tokenizer whose pieces are single letters."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(chr(code), -3.0) for code in range(97, 123)] + [(digit, -4.0) for digit in ".,0123456789"]
    return T5TokenizerFast(vocab=special + letters, extra_ids=0, model_max_length=512)


def vae(channels: int, **config: Any) -> AutoencoderKL:
    torch.manual_seed(7)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        **{"scaling_factor": 0.5, **config},
    )


def flow_scheduler(**config: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=3.0, **config)


def save_sdxl(folder: Path, zeros: bool = True) -> Path:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=2 * WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
    )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    )
    pipeline = StableDiffusionXLPipeline(
        vae=vae(4, latents_mean=[0.1, -0.2, 0.0, 0.3], latents_std=[1.0, 2.0, 0.5, 1.5]),
        text_encoder=clip(),
        text_encoder_2=clip(CLIPTextModelWithProjection, 1),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        scheduler=scheduler,
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def _save_pixart(folder: Path, kind: Any, told_size: bool) -> Path:
    torch.manual_seed(0)
    network = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=2,
        sample_size=8,
        caption_channels=WIDTH,
        use_additional_conditions=told_size,
    )
    scheduler = DPMSolverMultistepScheduler(beta_schedule="linear", beta_end=0.02)
    text = {"text_encoder": t5(), "tokenizer": t5_tokenizer()}
    kind(vae=vae(4), transformer=_stirred(network), scheduler=scheduler, **text).save_pretrained(folder)
    return folder


def save_pixart_alpha(folder: Path) -> Path:
    return _save_pixart(folder, PixArtAlphaPipeline, told_size=True)


def save_pixart_sigma(folder: Path) -> Path:
    return _save_pixart(folder, PixArtSigmaPipeline, told_size=False)


def save_sd3(folder: Path, with_t5: bool = True) -> Path:
    torch.manual_seed(0)
    network = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=40,
        caption_projection_dim=16,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=12,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    StableDiffusion3Pipeline(
        transformer=_stirred(network),
        scheduler=flow_scheduler(),
        vae=vae(4, shift_factor=0.1),
        text_encoder=clip(CLIPTextModelWithProjection),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip(CLIPTextModelWithProjection, 1),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5(40) if with_t5 else None,
        tokenizer_3=t5_tokenizer() if with_t5 else None,
    ).save_pretrained(folder)
    return folder


def save_sd3_without_t5(folder: Path) -> Path:
    return save_sd3(folder, with_t5=False)


def save_prx(folder: Path) -> Path:
    torch.manual_seed(0)
    network = PRXTransformer2DModel(
        in_channels=4, context_in_dim=WIDTH, hidden_size=16, mlp_ratio=2.0, num_heads=2, depth=2, axes_dim=[4, 4]
    )
    shape = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    encoder = T5GemmaModuleConfig(vocab_size=128, num_key_value_heads=1, head_dim=8, **shape)
    config = T5GemmaConfig(encoder=encoder, is_encoder_decoder=False, **shape).encoder
    PRXPipeline(
        transformer=_stirred(network),
        scheduler=flow_scheduler(),
        vae=vae(4, shift_factor=0.1),
        text_encoder=T5GemmaEncoder(config),
        tokenizer=gemma_tokenizer(),
        default_sample_size=16,
    ).save_pretrained(folder)
    return folder


def gemma_tokenizer() -> GemmaTokenizerFast:
    """Make a tokenizer whose pieces are single letters."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", *(chr(code) for code in range(97, 123)), ".", ","]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    return GemmaTokenizerFast(vocab=vocab, merges=[], model_max_length=32)


def _joint(**config: Any) -> dict[str, Any]:
    """Return the configuration that FLUX and Chroma share."""
    shared = {"in_channels": 16, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 8}
    return {**shared, "num_attention_heads": 2, "joint_attention_dim": WIDTH, "axes_dims_rope": (4, 2, 2), **config}


def save_flux(folder: Path, guidance: bool = True) -> Path:
    torch.manual_seed(0)
    network = FluxTransformer2DModel(**_joint(pooled_projection_dim=WIDTH, guidance_embeds=guidance))
    FluxPipeline(
        transformer=_stirred(network),
        scheduler=flow_scheduler(use_dynamic_shifting=guidance),
        vae=vae(4, shift_factor=0.1),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
    ).save_pretrained(folder)
    return folder


def save_schnell(folder: Path) -> Path:
    return save_flux(folder, guidance=False)


def save_chroma(folder: Path) -> Path:
    torch.manual_seed(0)
    network = ChromaTransformer2DModel(
        **_joint(approximator_num_channels=16, approximator_hidden_dim=16, approximator_layers=1)
    )
    ChromaPipeline(
        transformer=_stirred(network),
        scheduler=flow_scheduler(use_dynamic_shifting=True),
        vae=vae(4, shift_factor=0.1),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
    ).save_pretrained(folder)
    return folder


def _stirred(network: Any) -> Any:
    """Give small or zero weights a size: the published start is zero in places, which would hide mistakes."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def open_pipeline(folder: Path) -> Any:
    """Open a folder with diffusers' pipeline, which has to be told of a text encoder that is absent."""
    given: dict[str, Any] = {}
    if folder.name == "sd3-without-t5":
        given = {"text_encoder_3": None, "tokenizer_3": None}
    if folder.name == "prx":
        given = {"text_encoder": T5GemmaTextEncoder.from_pretrained(folder / "text_encoder")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers' own deprecations
        pipeline = DiffusionPipeline.from_pretrained(folder, **given)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "sdxl": save_sdxl,
    "pixart-alpha": save_pixart_alpha,
    "pixart-sigma": save_pixart_sigma,
    "sd3": save_sd3,
    "sd3-without-t5": save_sd3_without_t5,
    "prx": save_prx,
    "flux": save_flux,
    "schnell": save_schnell,
    "chroma": save_chroma,
}
