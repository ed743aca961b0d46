"""Published networks without memory, and forwards of one sample through them, to count operations."""

from __future__ import annotations

import warnings
from typing import Any

import diffusers
import torch

from bigain_cli.backbones.published_configs import PUBLISHED_CONFIGS

FEATURES = {"FluxTransformer2DModel": 768, "SD3Transformer2DModel": 2048}  # of the pooled text


def published(name: str) -> Any:
    """Build a network from its published configuration."""
    configs = PUBLISHED_CONFIGS[name]
    config = dict(configs["unet" if "unet" in configs else "transformer"])
    default = "UNet2DConditionModel" if "unet" in configs else "DiTTransformer2DModel"
    kind = getattr(diffusers, config.pop("_class_name", default))
    with torch.device("meta"), warnings.catch_warnings():  # diffusers 0.42 warns of an import of its own Chroma
        warnings.simplefilter("ignore", FutureWarning)
        return kind.from_config(config)


def run_published(network: Any, side: int, context: int) -> None:
    """Run one sample through a network on the meta device; `side` is the latent's."""
    kind, config = type(network).__name__, network.config
    with torch.device("meta"):
        t, width = torch.empty(1), config.get("joint_attention_dim", 4096)
        text, image = torch.empty(1, context, width), torch.empty(1, config.in_channels, side, side)
        words = {"encoder_hidden_states": text, "timestep": t}
        if kind == "UNet2DConditionModel":
            added = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}
            network(image, t, torch.empty(1, context, config.cross_attention_dim), added_cond_kwargs=added)
        elif kind == "PixArtTransformer2DModel":
            added = {"resolution": torch.empty(1, 2), "aspect_ratio": torch.empty(1, 1)}
            network(image, added_cond_kwargs=added, **words)
        elif kind == "PRXTransformer2DModel":
            network(image, t, torch.empty(1, context, config.context_in_dim))
        elif kind == "SD3Transformer2DModel":
            network(image, pooled_projections=torch.empty(1, FEATURES[kind]), **words)
        else:
            n = (side // 2) ** 2
            ids = {"img_ids": torch.empty(n, 3), "txt_ids": torch.empty(context, 3)}
            more = {"pooled_projections": torch.empty(1, FEATURES[kind])} if kind in FEATURES else {}
            more |= {"guidance": t} if config.get("guidance_embeds") else {}
            network(torch.empty(1, n, config.in_channels), **words, **ids, **more)
