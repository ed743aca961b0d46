"""Chroma1: rectified flow on packed latents, with T5's tokens, of which all but the first filling one are masked.

In: the parts of a diffusers folder; out: the backbone contract. Must not know label files or estimators.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.network_facts import NetworkFacts
from bigain_cli.backbones.text_encoders import Tensors, TextEncoder, last_masked
from bigain_cli.backbones.text_network import TextNetwork
from bigain_cli.backbones.token_positions import image_positions, text_positions

SIZE = 128  # of its latents, unless its configuration names one
T5 = TextEncoder(
    "text_encoder", "transformers:T5EncoderModel", "transformers:T5TokenizerFast", last_masked, 512, masked=True
)


class Chroma(TextNetwork):
    """A transformer of Chroma1."""

    family = "chroma"
    facts = NetworkFacts(prediction="flow", time_scale=1 / 1000, packing=2)
    guidance = 5.0
    kind = "diffusers:ChromaTransformer2DModel"
    even_steps = True

    def __init__(self, parts: DiffusersFolder) -> None:
        super().__init__(parts, (T5,), parts.config("transformer").get("sample_size", SIZE))

    def _combine(self, prompt: str, found: Mapping[str, Tensors]) -> dict[str, Tensor]:
        """Let the network see the prompt's tokens and one filling token after them, as in its training.

        Diffusers' pipeline makes the mask of numbers, which attention adds to its scores: it hides nothing there, and
        short prompts, as those of labels, suffer (huggingface/diffusers#12116).
        """
        tokens, mask = found[T5.part]["tokens"], found[T5.part]["mask"]
        return {"tokens": tokens, "mask": torch.arange(len(mask), device=mask.device) <= mask.sum()}

    def _forward(self, latents: Tensor, time: Tensor, conditions: Conditions, grid: tuple[int, int]) -> Tensor:
        height, width = (side // self.facts.packing for side in grid)
        mask = conditions.more["mask"]  # [b n]
        output: Tensor = self.network(
            latents,
            timestep=time,
            encoder_hidden_states=conditions.rows,
            txt_ids=text_positions(conditions.text_tokens, latents),
            img_ids=image_positions(height, width, latents),
            attention_mask=torch.cat([mask, mask.new_ones(len(latents), height * width)], 1),
            return_dict=False,
        )[0]
        return output


def load_chroma(parts: DiffusersFolder) -> Chroma:
    """Make a Chroma1 from the parts of a folder."""
    return Chroma(parts)
