"""PRX: rectified flow in a transformer whose image tokens attend to themselves and to T5Gemma's tokens, masked.

In: the parts of a diffusers folder; out: the backbone contract. Must not know label files or estimators.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.folder_checks import whole_number
from bigain_cli.backbones.network_facts import NetworkFacts
from bigain_cli.backbones.text_encoders import Tensors, TextEncoder, last_masked
from bigain_cli.backbones.text_network import TextNetwork

PIXELS, SCALE = 512, 8  # of images, and along a side of a latent position, unless the folder says otherwise
MARKS = re.compile(r"[#®•©™&@·º½¾¿¡§~)(\][}{|\\/*\s]+")


def plain_words(text: str) -> str:
    """Return a prompt in small letters, with one space for each run of marks and spaces, as in training."""
    return MARKS.sub(" ", text.lower()).strip()


T5_GEMMA = TextEncoder(
    "text_encoder",
    "bigain_cli.backbones.t5_gemma:T5GemmaTextEncoder",
    "transformers:GemmaTokenizerFast",
    last_masked,
    masked=True,
    clean=plain_words,
)


class PRX(TextNetwork):
    """A transformer of PRX."""

    family = "prx"
    facts = NetworkFacts(prediction="flow", time_scale=1 / 1000)
    guidance = 4.0
    kind = "diffusers:PRXTransformer2DModel"

    def __init__(self, parts: DiffusersFolder) -> None:
        index = f"{parts.name}/model_index.json"
        pixels = whole_number(index, {"default_sample_size": PIXELS, **parts.index}, "default_sample_size")
        scale = 2 ** (len(parts.config("vae")["block_out_channels"]) - 1) if parts.has("vae") else SCALE
        config = {"patch_size": 2, **parts.config("transformer")}
        patch = whole_number(f"{parts.name}/transformer/config.json", config, "patch_size")
        super().__init__(parts, (T5_GEMMA,), config.get("sample_size", pixels // scale), patch)

    def _combine(self, prompt: str, found: Mapping[str, Tensors]) -> dict[str, Tensor]:
        tensors = found[T5_GEMMA.part]
        return {"tokens": tensors["tokens"], "mask": tensors["mask"].bool()}

    def _forward(self, latents: Tensor, time: Tensor, conditions: Conditions, grid: tuple[int, int]) -> Tensor:
        output: Tensor = self.network(
            hidden_states=latents,
            timestep=time,
            encoder_hidden_states=conditions.rows,
            attention_mask=conditions.more["mask"],
            return_dict=False,
        )[0]
        return output


def load_prx(parts: DiffusersFolder) -> PRX:
    """Make a PRX from the parts of a folder."""
    return PRX(parts)
