"""One .safetensors file in the original Stable Diffusion layout: tensor names, shapes, notes, and tensors on demand.

What is not a whole Stable Diffusion 1.x or 2.x is refused by name. Must not know diffusers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from bigain_cli.errors import ModelError

Shapes = dict[str, tuple[int, ...]]

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
WHOLE = {UNET: "U-Net", VAE: "VAE", TEXT: "text encoder"}
SUPPORTED = "Supported: a whole Stable Diffusion 1.x or 2.x in its original layout, or a diffusers folder."
FOREIGN = (  # the first that matches is named, so patches on a model come before models
    (r"lora_|hada_w|lokr_", "a LoRA: changes to a model, not a model"),
    (r"^control_model\.|input_hint_block|controlnet_cond_embedding", "a ControlNet"),
    (r"^emb_params$|string_to_param", "a textual inversion: a word for a model, not a model"),
    (r"joint_blocks\.", "Stable Diffusion 3"),
    (r"double_blocks\.|single_transformer_blocks\.", "FLUX or one of its kin"),
    (r"^conditioner\.embedders\.|add_embedding\.", "Stable Diffusion XL"),
    (r"label_emb\.", "a model that wants more than text (Stable Diffusion XL, unCLIP, upscaler)"),
    (r"^(text_model|embeddings|encoder\.layers)\.", "a text encoder alone"),
    (r"^(encoder|decoder|quant_conv|post_quant_conv)\.", "a VAE alone"),
    (r"^(diffusion_model\.)?(input_blocks|middle_block|down_blocks|mid_block)\.", "a U-Net alone"),
)
INPUTS = {5: "a depth-to-image model", 7: "an upscaler", 8: "an image-editing model", 9: "an inpainting model"}


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds, without its numbers."""

    path: Path
    shapes: Shapes
    notes: dict[str, str]

    def under(self, prefix: str) -> Shapes:
        """Return the shapes below a prefix, by what follows it."""
        return {key.removeprefix(prefix): shape for key, shape in self.shapes.items() if key.startswith(prefix)}

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Read the tensors below a prefix, by their full names."""
        with safe_open(self.path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in self.shapes if key.startswith(prefix)}


def read_checkpoint(name: str, path: Path) -> Checkpoint:
    """Read a file's header; refuse what is no whole Stable Diffusion 1.x or 2.x."""
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 — not a dict
            checkpoint = Checkpoint(path, shapes, file.metadata() or {})
    except (OSError, SafetensorError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ModelError(
            f"model {name}", f"not a safetensors file, or cut off ({reason})", "Fetch it again."
        ) from problem
    _refuse_foreign(name, checkpoint)
    _refuse_incomplete(name, checkpoint)
    return checkpoint


def _refuse_foreign(name: str, checkpoint: Checkpoint) -> None:
    for pattern, what in FOREIGN:
        if any(re.search(pattern, key) for key in checkpoint.shapes):
            raise ModelError(f"model {name}", f"this file is {what}", _way_out(checkpoint.path))
    channels = checkpoint.shapes.get(f"{UNET}input_blocks.0.0.weight", (0, 0))[1]
    if channels in INPUTS:
        why = f"this file is {INPUTS[channels]}: its U-Net takes {channels} channels"
        raise ModelError(f"model {name}", why, "Use the text-to-image model of the same family.")


def _refuse_incomplete(name: str, checkpoint: Checkpoint) -> None:
    there = [prefix for prefix in WHOLE if any(key.startswith(prefix) for key in checkpoint.shapes)]
    if not there:
        first = min(checkpoint.shapes, default="nothing")
        raise ModelError(f"model {name}", f"no Stable Diffusion in this file (it holds {first}, …)", SUPPORTED)
    missing = [f"{part} ({prefix}*)" for prefix, part in WHOLE.items() if prefix not in there]
    if missing:
        holds = " and ".join(WHOLE[prefix] for prefix in there)
        why = f"only the {holds} in this file; missing: {', '.join(missing)}"
        raise ModelError(f"model {name}", why, _way_out(checkpoint.path))


def _way_out(path: Path) -> str:
    """Point to the diffusers folder if the file lies in one."""
    folder = path.resolve().parent.parent
    return f"Give the whole folder: -m {folder}" if (folder / "model_index.json").is_file() else SUPPORTED
