"""The configurations of published models by alias, as far as a network's time depends on them.

Must not import torch, nor know how networks are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Configs = Mapping[str, Mapping[str, Any]]  # of a model, by part

_SD1_UNET = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,  # diffusers means the number of heads
}
_SD2_UNET = {
    **_SD1_UNET,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
_DIT_XL_2 = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 28,
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "patch_size": 2,
    "num_embeds_ada_norm": 1000,
}
_VAE = {
    "latent_channels": 4,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
_VAE_16 = {**_VAE, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
_SD_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_DIT_BETAS = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
_FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}
_CLIP_L = {"hidden_size": 768, "projection_dim": 768, "max_position_embeddings": 77}
_CLIP_G = {"hidden_size": 1280, "projection_dim": 1280, "max_position_embeddings": 77}
_T5_XXL = {"d_model": 4096}
_SDXL_UNET = {
    **_SD1_UNET,
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_PIXART = {"_class_name": "PixArtTransformer2DModel", "in_channels": 4, "patch_size": 2, "caption_channels": 4096}
_SD3 = {
    "_class_name": "SD3Transformer2DModel",
    "sample_size": 128,
    "in_channels": 16,
    "patch_size": 2,
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "pos_embed_max_size": 192,
}
_SD35_MEDIUM = {
    **_SD3,
    "pos_embed_max_size": 384,
    "dual_attention_layers": tuple(range(13)),
    "qk_norm": "rms_norm",
}
_SD35_LARGE = {
    **_SD3,
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "qk_norm": "rms_norm",
}


def _stable_diffusion(unet: Mapping[str, Any], prediction: str = "epsilon", latent: int = 64) -> Configs:
    scheduler = {**_SD_BETAS, "prediction_type": prediction}
    return {"unet": {**unet, "sample_size": latent}, "vae": _VAE, "scheduler": scheduler}


def _dit(latent: int) -> Configs:
    return {"transformer": {**_DIT_XL_2, "sample_size": latent}, "vae": _VAE, "scheduler": _DIT_BETAS}


def _sdxl(latent: int = 128) -> Configs:
    scheduler = {"_class_name": "EulerDiscreteScheduler", **_SD_BETAS, "prediction_type": "epsilon"}
    encoders = {"text_encoder": _CLIP_L, "text_encoder_2": _CLIP_G}
    return {"unet": {**_SDXL_UNET, "sample_size": latent}, "vae": _VAE, "scheduler": scheduler, **encoders}


def _pixart(pipeline: str, latent: int, told_size: bool) -> Configs:
    transformer = {**_PIXART, "sample_size": latent, "use_additional_conditions": told_size}
    parts: Configs = {"transformer": transformer, "vae": _VAE, "scheduler": _DIT_BETAS, "text_encoder": _T5_XXL}
    return {**parts, "model_index": {"_class_name": pipeline}}


def _sd3(transformer: Mapping[str, Any]) -> Configs:
    encoders = {"text_encoder": _CLIP_L, "text_encoder_2": _CLIP_G, "text_encoder_3": _T5_XXL}
    return {"transformer": transformer, "vae": _VAE_16, "scheduler": {**_FLOW, "shift": 3.0}, **encoders}


def _flux(guidance: bool) -> Configs:
    transformer = {"_class_name": "FluxTransformer2DModel", "in_channels": 64, "guidance_embeds": guidance}
    scheduler = {**_FLOW, "use_dynamic_shifting": guidance, "shift": 3.0 if guidance else 1.0}
    encoders = {"text_encoder": _CLIP_L, "text_encoder_2": _T5_XXL}
    return {"transformer": transformer, "vae": _VAE_16, "scheduler": scheduler, **encoders}


def _chroma() -> Configs:
    transformer = {"_class_name": "ChromaTransformer2DModel", "in_channels": 64}
    return {"transformer": transformer, "vae": _VAE_16, "scheduler": _FLOW, "text_encoder": _T5_XXL}


def _prx(latent: int) -> Configs:
    transformer = {"_class_name": "PRXTransformer2DModel", "in_channels": 16, "patch_size": 2}
    index = {"default_sample_size": latent * 8}
    parts: Configs = {"transformer": transformer, "vae": _VAE_16, "scheduler": {**_FLOW, "shift": 3.0}}
    return {**parts, "text_encoder": {"hidden_size": 2304}, "model_index": index}


PUBLISHED_CONFIGS: Mapping[str, Configs] = {
    "sd1.4": _stable_diffusion(_SD1_UNET),
    "sd1.5": _stable_diffusion(_SD1_UNET),
    "sd2": _stable_diffusion(_SD2_UNET),
    "sd2-768": _stable_diffusion(_SD2_UNET, "v_prediction", 96),
    "sd2.1": _stable_diffusion(_SD2_UNET),
    "sd2.1-768": _stable_diffusion(_SD2_UNET, "v_prediction", 96),
    "dit-256": _dit(32),
    "dit-512": _dit(64),
    "sdxl": _sdxl(),
    "sdxl-turbo": _sdxl(64),
    "pixart-alpha-512": _pixart("PixArtAlphaPipeline", 64, False),
    "pixart-alpha": _pixart("PixArtAlphaPipeline", 128, True),
    "pixart-sigma": _pixart("PixArtSigmaPipeline", 128, False),
    "prx-256": _prx(32),
    "prx": _prx(64),
    "sd3-medium": _sd3(_SD3),
    "sd3.5-medium": _sd3(_SD35_MEDIUM),
    "sd3.5-large": _sd3(_SD35_LARGE),
    "chroma": _chroma(),
    "flux-dev": _flux(guidance=True),
    "flux-schnell": _flux(guidance=False),
}
CONTEXT = 77  # text tokens of every Stable Diffusion 1 and 2
PACKING = {"FluxTransformer2DModel": 2, "ChromaTransformer2DModel": 2}  # latent cells per token along an axis
TOKENIZER_LENGTH = 256  # of PRX; other text encoders name theirs, or their family does
