"""Stable Diffusion 3 and 3.5: rectified flow in a joint transformer; two CLIP encoders, and T5, which may be absent.

In: the parts of a diffusers folder; out: the backbone contract. Must not know label files or estimators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.folder_checks import whole_number
from bigain_cli.backbones.network_facts import NetworkFacts
from bigain_cli.backbones.text_encoders import Tensors, TextEncoder, last, penultimate
from bigain_cli.backbones.text_network import TextNetwork

CLIP, PROJECTED = "transformers:CLIPTokenizer", "transformers:CLIPTextModelWithProjection"
T5_TOKENS = 256
CLIPS = tuple(TextEncoder(part, PROJECTED, CLIP, penultimate, cuts=True) for part in ("text_encoder", "text_encoder_2"))
T5 = TextEncoder("text_encoder_3", "transformers:T5EncoderModel", "transformers:T5TokenizerFast", last, T5_TOKENS)


class StableDiffusion3(TextNetwork):
    """A joint transformer of Stable Diffusion 3 or 3.5."""

    family = "sd3"
    facts = NetworkFacts(prediction="flow")
    guidance = 7.0
    kind = "diffusers:SD3Transformer2DModel"

    def __init__(self, parts: DiffusersFolder) -> None:
        self._has_t5 = parts.has(T5.part)
        clips = tuple(replace(each, cuts=self._has_t5) for each in CLIPS)
        config, what = parts.config("transformer"), f"{parts.name}/transformer/config.json"
        patch = whole_number(what, {"patch_size": 2, **config}, "patch_size")
        self._width = whole_number(what, {"joint_attention_dim": 4096, **config}, "joint_attention_dim")
        super().__init__(parts, (*clips, T5) if self._has_t5 else clips, config.get("sample_size", 128), patch)

    def _combine(self, prompt: str, found: Mapping[str, Tensors]) -> dict[str, Tensor]:
        """Join both CLIPs' tokens, fill their channels up with zeros, and append T5's tokens, zeros without it."""
        first, second = (found[encoder.part] for encoder in CLIPS)
        clip = torch.cat([first["tokens"], second["tokens"]], -1)
        t5 = found[T5.part]["tokens"] if self._has_t5 else clip.new_zeros(T5_TOKENS, self._width)
        tokens = torch.cat([F.pad(clip, (0, t5.shape[-1] - clip.shape[-1])), t5])
        return {"tokens": tokens, "pooled": torch.cat([first["pooled"], second["pooled"]])}

    def _forward(self, latents: Tensor, time: Tensor, conditions: Conditions, grid: tuple[int, int]) -> Tensor:
        output: Tensor = self.network(
            latents,
            timestep=time,
            encoder_hidden_states=conditions.rows,
            pooled_projections=conditions.more["pooled"],
            return_dict=False,
        )[0]
        return output


def load_sd3(parts: DiffusersFolder) -> StableDiffusion3:
    """Make a Stable Diffusion 3 from the parts of a folder."""
    return StableDiffusion3(parts)
