"""PixArt-α and PixArt-Σ: patch transformers with T5's tokens, masked; α at 1,024 pixels is told the image's size, too.

In: the parts of a diffusers folder; out: the backbone contract. Must not know label files or estimators.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.folder_checks import whole_number
from bigain_cli.backbones.network_facts import NetworkFacts
from bigain_cli.backbones.size_inputs import size_rows
from bigain_cli.backbones.text_encoders import Tensors, TextEncoder, last_masked, lower_stripped
from bigain_cli.backbones.text_network import TextNetwork

T5, T5_TOKENIZER = "transformers:T5EncoderModel", "transformers:T5TokenizerFast"
TOKENS = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}
PART = "text_encoder"


class PixArt(TextNetwork):
    """A transformer of PixArt-α or PixArt-Σ."""

    family = "pixart"
    facts = NetworkFacts()
    guidance = 4.5
    kind = "diffusers:PixArtTransformer2DModel"

    def __init__(self, parts: DiffusersFolder) -> None:
        tokens = TOKENS.get(str(parts.index.get("_class_name")), TOKENS["PixArtAlphaPipeline"])
        encoder = TextEncoder(PART, T5, T5_TOKENIZER, last_masked, tokens, masked=True, clean=lower_stripped)
        config = parts.config("transformer")
        patch = whole_number(f"{parts.name}/transformer/config.json", {"patch_size": 2, **config}, "patch_size")
        super().__init__(parts, (encoder,), config.get("sample_size", 128), patch)

    def _combine(self, prompt: str, found: Mapping[str, Tensors]) -> dict[str, Tensor]:
        return dict(found[PART])

    def _forward(self, latents: Tensor, time: Tensor, conditions: Conditions, grid: tuple[int, int]) -> Tensor:
        height, width = (side * self.scale for side in grid)
        rows = conditions.rows
        added = {"resolution": size_rows((height, width), rows), "aspect_ratio": size_rows((height / width,), rows)}
        output: Tensor = self.network(
            latents,
            encoder_hidden_states=rows,
            encoder_attention_mask=conditions.more["mask"],
            timestep=time,
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return output


def load_pixart(parts: DiffusersFolder) -> PixArt:
    """Make a PixArt from the parts of a folder."""
    return PixArt(parts)
