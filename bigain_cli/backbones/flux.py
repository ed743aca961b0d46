"""FLUX.1: rectified flow on packed latents, with T5's tokens and CLIP's pooled embedding; dev takes a guidance input.

In: the parts of a diffusers folder; out: the backbone contract. Must not know label files or estimators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.network_facts import NetworkFacts
from bigain_cli.backbones.text_encoders import Tensors, TextEncoder, last, pooled
from bigain_cli.backbones.text_network import NO_GUIDANCE, TextNetwork
from bigain_cli.backbones.token_positions import image_positions, text_positions

SIZE = 128  # of its latents, unless its configuration names one
CLIP = TextEncoder("text_encoder", "transformers:CLIPTextModel", "transformers:CLIPTokenizer", pooled, cuts=True)
T5 = TextEncoder("text_encoder_2", "transformers:T5EncoderModel", "transformers:T5TokenizerFast", last, 512)
SCHNELL_TOKENS = 256  # of T5, which its authors use


class Flux(TextNetwork):
    """A transformer of FLUX.1, dev or schnell."""

    family = "flux"
    facts = NetworkFacts(prediction="flow", time_scale=1 / 1000, packing=2)
    guidance = 3.5
    kind = "diffusers:FluxTransformer2DModel"
    even_steps = True

    def __init__(self, parts: DiffusersFolder) -> None:
        config = parts.config("transformer")
        self.guidance_input = bool(config.get("guidance_embeds"))
        is_schnell = not self.guidance_input and not parts.config("scheduler").get("use_dynamic_shifting")
        t5 = replace(T5, tokens=SCHNELL_TOKENS) if is_schnell else T5
        super().__init__(parts, (CLIP, t5), config.get("sample_size", SIZE))
        if is_schnell:
            self.distilled = self.distilled or "it is FLUX.1 schnell"
            self._choose_sampling()

    def condition(self, prompts: Sequence[str]) -> Conditions:
        """Return the prompts' embeddings, without guidance."""
        return self.guided(super().condition(prompts), NO_GUIDANCE)

    def guided(self, conditions: Conditions, guidance: float) -> Conditions:
        """Return conditions that tell the network its guidance, if it has an input for it."""
        if not self.guidance_input:
            return conditions
        values = torch.full([len(conditions)], guidance, device=conditions.rows.device)
        return Conditions(conditions.rows, {**conditions.more, "guidance": values})

    def _combine(self, prompt: str, found: Mapping[str, Tensors]) -> dict[str, Tensor]:
        return {"tokens": found[T5.part]["tokens"], "pooled": found[CLIP.part]["pooled"]}

    def _forward(self, latents: Tensor, time: Tensor, conditions: Conditions, grid: tuple[int, int]) -> Tensor:
        height, width = (side // self.facts.packing for side in grid)
        output: Tensor = self.network(
            latents,
            timestep=time,
            guidance=conditions.more.get("guidance"),
            encoder_hidden_states=conditions.rows,
            pooled_projections=conditions.more["pooled"],
            txt_ids=text_positions(conditions.text_tokens, latents),
            img_ids=image_positions(height, width, latents),
            return_dict=False,
        )[0]
        return output


def load_flux(parts: DiffusersFolder) -> Flux:
    """Make a FLUX.1 from the parts of a folder."""
    return Flux(parts)
