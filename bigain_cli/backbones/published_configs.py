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
_SD_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_DIT_BETAS = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}


def _stable_diffusion(unet: Mapping[str, Any], prediction: str = "epsilon", latent: int = 64) -> Configs:
    scheduler = {**_SD_BETAS, "prediction_type": prediction}
    return {"unet": {**unet, "sample_size": latent}, "vae": _VAE, "scheduler": scheduler}


def _dit(latent: int) -> Configs:
    return {"transformer": {**_DIT_XL_2, "sample_size": latent}, "vae": _VAE, "scheduler": _DIT_BETAS}


PUBLISHED_CONFIGS: Mapping[str, Configs] = {
    "sd1.4": _stable_diffusion(_SD1_UNET),
    "sd1.5": _stable_diffusion(_SD1_UNET),
    "sd2": _stable_diffusion(_SD2_UNET),
    "sd2-768": _stable_diffusion(_SD2_UNET, "v_prediction", 96),
    "sd2.1": _stable_diffusion(_SD2_UNET),
    "sd2.1-768": _stable_diffusion(_SD2_UNET, "v_prediction", 96),
    "dit-256": _dit(32),
    "dit-512": _dit(64),
}
CONTEXT = 77  # text tokens of every Stable Diffusion 1 and 2
