"""Stable Diffusion XL: a U-Net with two CLIP encoders, a pooled embedding and the image's size beside the time.

In: the parts of a diffusers folder; out: the backbone contract. Must not know label files or estimators.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.network_facts import NetworkFacts
from bigain_cli.backbones.size_inputs import size_rows
from bigain_cli.backbones.text_encoders import Tensors, TextEncoder, penultimate
from bigain_cli.backbones.text_network import TextNetwork
from bigain_cli.errors import ModelError

CLIP = "transformers:CLIPTokenizer"
ENCODERS = (
    TextEncoder("text_encoder", "transformers:CLIPTextModel", CLIP, penultimate),
    TextEncoder("text_encoder_2", "transformers:CLIPTextModelWithProjection", CLIP, penultimate),
)


class SDXL(TextNetwork):
    """A U-Net of Stable Diffusion XL."""

    family = "sdxl"
    facts = NetworkFacts()
    guidance = 5.0
    part = "unet"
    kind = "diffusers:UNet2DConditionModel"

    def __init__(self, parts: DiffusersFolder) -> None:
        super().__init__(parts, ENCODERS, parts.config("unet").get("sample_size"))
        self._zeros = parts.index.get("force_zeros_for_empty_prompt", True) is True

    def _combine(self, prompt: str, found: Mapping[str, Tensors]) -> dict[str, Tensor]:
        """Join the tokens of both encoders; the empty prompt is all zeros in models that were trained so."""
        first, second = (found[encoder.part] for encoder in ENCODERS)
        tokens, pooled = torch.cat([first["tokens"], second["tokens"]], -1), second["pooled"]
        if self._zeros and not prompt:
            return {"tokens": torch.zeros_like(tokens), "pooled": torch.zeros_like(pooled)}
        return {"tokens": tokens, "pooled": pooled}

    def _forward(self, latents: Tensor, time: Tensor, conditions: Conditions, grid: tuple[int, int]) -> Tensor:
        height, width = (side * self.scale for side in grid)
        sizes = (height, width, 0, 0, height, width)  # before it was cropped, the crop's corner, as it is
        added = {"text_embeds": conditions.more["pooled"], "time_ids": size_rows(sizes, conditions.rows)}
        output: Tensor = self.network(
            latents, time, encoder_hidden_states=conditions.rows, added_cond_kwargs=added, return_dict=False
        )[0]
        return output


def load_sdxl(parts: DiffusersFolder) -> SDXL:
    """Make a Stable Diffusion XL from the parts of a folder."""
    if not parts.has("text_encoder"):
        hint = "Use the base model, which generates alone."
        raise ModelError(parts.name, "without its first text encoder (is it the refiner?)", hint)
    return SDXL(parts)
