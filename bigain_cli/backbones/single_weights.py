"""From a checkpoint's tensors to the names that diffusers and transformers give them. Must not know architectures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from bigain_cli.backbones.single_checkpoint import TEXT, UNET, VAE, Checkpoint

CLIP = re.compile(r"cond_stage_model\.transformer\.(text_model\.)?")
BLOCK = re.compile(r"cond_stage_model\.model\.transformer\.resblocks\.(\d+)\.")
OPEN_CLIP = f"{TEXT}model."
UNREAD = tuple(f"{OPEN_CLIP}{end}" for end in ("text_projection", "logit_scale", "attn_mask"))


def unet_weights(checkpoint: Checkpoint, config: dict[str, Any]) -> dict[str, Tensor]:
    """Return the U-Net's weights.

    A training checkpoint also has their moving average, `model_ema.*`. The plain weights are taken: they are what
    published "ema" files, fine-tunes and merges are made of and what other tools load, so that scores can be compared.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    return dict(convert_ldm_unet_checkpoint(checkpoint.tensors(UNET), config))


def vae_weights(checkpoint: Checkpoint, config: dict[str, Any]) -> dict[str, Tensor]:
    """Return the VAE's weights; what only its training needed (`loss.*`) is not asked for by any network."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    return dict(convert_ldm_vae_checkpoint(checkpoint.tensors(VAE), config))


def text_weights(checkpoint: Checkpoint, model: Any) -> dict[str, Tensor]:
    """Return the text encoder's weights, named as this release of transformers names them."""
    tensors = checkpoint.tensors(TEXT)
    if any(key.startswith(OPEN_CLIP) for key in tensors):
        from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

        layers = model.config.num_hidden_layers
        read = {key: tensor for key, tensor in tensors.items() if _is_read(key, layers)}
        found = convert_open_clip_checkpoint(model, read, prefix=OPEN_CLIP)
        weights = {key.removeprefix("text_model."): tensor for key, tensor in found.items()}
    else:
        weights = {CLIP.sub("", key): tensor for key, tensor in tensors.items()}
        weights.pop("embeddings.position_ids", None)  # 0, 1, 2, …: a constant that old files carry along
    wrapped = _wrapped(model.state_dict())
    return {f"text_model.{key}" if wrapped else key: tensor for key, tensor in weights.items()}


def _is_read(key: str, layers: int) -> bool:
    """Tell whether an OpenCLIP tensor matters: the blocks after the one that is read do not."""
    block = BLOCK.match(key)
    return int(block[1]) < layers if block else not key.startswith(UNREAD)


def _wrapped(names: Iterable[str]) -> bool:
    return any(name.startswith("text_model.") for name in names)
