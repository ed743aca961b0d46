"""Read a single-file checkpoint (original Stable Diffusion 1.x or 2.x layout) like a diffusers folder, writing nothing.

diffusers renames the tensors. Its `from_single_file` could also load the networks, but ignores unknown tensors, does
not name missing ones, and leaves the weights in the mapped file: here they are checked and copied.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from bigain_cli.backbones.diffusers_folder import DiffusersFolder, quiet
from bigain_cli.backbones.folder_checks import check_tokenizer, files_of, fit_tokenizer, has_vocabulary
from bigain_cli.backbones.single_file_configs import CLIP, PREFIXES, SUPPORTED, Header, read_configs
from bigain_cli.errors import ModelError, one_line

OPEN_CLIP = f"{PREFIXES['text_encoder']}model."
NAMES = {"unet": "U-Net", "vae": "VAE", "text_encoder": "text encoder"}
OTHER_CONTENTS = {  # the first match is named, so additions to a model come before models
    r"lora_|hada_w|lokr_": "a LoRA: changes to a model, not a model",
    r"^control_model\.|input_hint_block|controlnet_cond_embedding": "a ControlNet",
    r"^emb_params$|string_to_param": "a textual inversion: a word for a model, not a model",
    r"joint_blocks\.": "Stable Diffusion 3",
    r"double_blocks\.|single_transformer_blocks\.": "FLUX or a model like it",
    r"^conditioner\.embedders\.|add_embedding\.": "Stable Diffusion XL",
    r"label_emb\.": "a model that wants more than text (Stable Diffusion XL, unCLIP, upscaler)",
    r"^(text_model|embeddings|encoder\.layers)\.": "a text encoder alone",
    r"^(encoder|decoder|quant_conv|post_quant_conv)\.": "a VAE alone",
    r"^(diffusion_model\.)?(input_blocks|middle_block|down_blocks|mid_block)\.": "a U-Net alone",
}
OTHER_CHANNELS = {5: "a depth-to-image model", 7: "an upscaler", 8: "an image-editing model", 9: "an inpainting model"}
TOKENIZER = "openai/clip-vit-large-patch14"  # Stable Diffusion 1 and 2 were trained with the same 49408 tokens
TOKENIZER_FILES = ["vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]


@dataclass(frozen=True)
class SingleFile(DiffusersFolder):
    """The configurations read from a checkpoint's shapes, and a tokenizer; `folder` is the checkpoint itself."""

    configs: dict[str, dict[str, Any]]
    tokenizer: Path

    def has(self, part: str) -> bool:
        """Tell whether there is this part."""
        return part in self.configs or part == "tokenizer"

    def config(self, part: str) -> dict[str, Any]:
        """Return a part's configuration."""
        return self.configs[part]

    def network(self, part: str, kind: Any, dtype: torch.dtype | None = None) -> Any:
        """Load a network with all its weights, ready for inference."""
        return self._load(part, partial(kind, **self.configs[part]), dtype or self.dtype)

    def text(self) -> tuple[Any, Any]:
        """Load the tokenizer and the CLIP text encoder; 2.x was trained with prompts filled up with token 0, "!"."""
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

        config = self.configs["text_encoder"]
        pad = "!" if self.configs["unet"]["use_linear_projection"] else "<|endoftext|>"
        check_tokenizer(f"{self.name}/tokenizer", self.tokenizer)
        with self._load_errors("tokenizer"), quiet():
            # set on loading, as in a diffusers folder: the tokens of a prompt's own "!" depend on it
            tokenizer = CLIPTokenizer.from_pretrained(self.tokenizer, local_files_only=True, pad_token=pad)
        if len(tokenizer) != config["vocab_size"]:
            why = f"the tokenizer has {len(tokenizer)} pieces, the text encoder knows {config['vocab_size']}"
            beside = self.folder.resolve().parent / "tokenizer"
            raise ModelError(f"model {self.name}", why, f"Put the tokenizer that belongs to it in {beside}.")
        encoder = self._load("text_encoder", lambda: CLIPTextModel(CLIPTextConfig(**config)), self.dtype)
        with self._load_errors("tokenizer"):
            fit_tokenizer(self.name, tokenizer, encoder.config)
        return tokenizer, encoder

    @property
    def identity(self) -> str:
        """Return a digest of the configurations, and of every byte of the tokenizer and of the file."""
        tokenizer = [path for path in files_of(self.tokenizer) if path.suffix in (".json", ".txt")]
        files = [*((f"tokenizer/{path.name}", path) for path in tokenizer), ("weights", self.folder)]
        return self.digests.combined(files, json.dumps(self.configs, sort_keys=True))

    def _load(self, part: str, make: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
        """Make an empty network and put the weights into it: none may be missing, none unknown."""
        from accelerate import init_empty_weights

        with self._load_errors(part), quiet():
            with init_empty_weights():
                network = make()
            with safe_open(self.folder, framework="pt") as file:
                keys = [key for key in file.keys() if key.startswith(PREFIXES[part])]  # noqa: SIM118 — not a dict
                tensors = {key: file.get_tensor(key) for key in keys}
            weights, expected = rename(part, tensors, network), network.state_dict().keys()
            for why, names in (("missing", expected - weights.keys()), ("unknown", weights.keys() - expected)):
                if names:
                    reason = f"{len(names)} weights are {why} ({min(names)}, …)"
                    raise ModelError(f"{self.name}/{part}", reason, SUPPORTED)
            # a copy even where nothing changes: the file's own memory is unaligned, and gone if the file is
            on_device = {name: tensor.to(self.device, dtype, copy=True) for name, tensor in weights.items()}
            network.load_state_dict(on_device, assign=True)
            return network.to(self.device).eval().requires_grad_(False)


def open_single_file(name: str, path: Path, device: torch.device, dtype: torch.dtype) -> SingleFile:
    """Open a whole Stable Diffusion 1.x or 2.x, refuse anything else; warn of a guess."""
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 — not a dict
            header = Header(path, shapes, file.metadata() or {})
    except (OSError, SafetensorError) as problem:
        why = f"not a safetensors file, or cut off ({one_line(problem, 200)})"
        raise ModelError(f"model {name}", why, "Fetch it again.") from problem
    if refusal := _refusal(header):
        raise ModelError(f"model {name}", *refusal)
    return SingleFile(name, path, device, dtype, read_configs(name, header), tokenizer_folder(name, path))


def _refusal(header: Header) -> tuple[str, str] | None:
    """Return why this is no whole Stable Diffusion 1.x or 2.x, and what to try."""
    folder = header.path.resolve().parent.parent  # a diffusers folder, if the file is in one
    hint = f"Give the whole folder: -m {folder}" if (folder / "model_index.json").is_file() else SUPPORTED
    for pattern, what in OTHER_CONTENTS.items():
        if any(re.search(pattern, key) for key in header.shapes):
            return f"this file is {what}", hint
    channels = header.shapes.get(f"{PREFIXES['unet']}input_blocks.0.0.weight", (0, 0))[1]
    if channels in OTHER_CHANNELS:
        why = f"this file is {OTHER_CHANNELS[channels]}: its U-Net takes {channels} channels"
        return why, "Use the text-to-image model of the same family."
    present = [part for part, prefix in PREFIXES.items() if header.under(prefix)]
    missing = [f"{NAMES[part]} ({prefix}*)" for part, prefix in PREFIXES.items() if part not in present]
    if not present:
        first = min(header.shapes, default="nothing")
        return f"no Stable Diffusion in this file (it holds {first}, …)", SUPPORTED
    if missing:
        holds = " and ".join(NAMES[part] for part in present)
        return f"only the {holds} in this file; missing: {', '.join(missing)}", hint
    return None


def tokenizer_folder(name: str, path: Path) -> Path:
    """Return the folder `tokenizer` beside a checkpoint, else the hub's from the cache, else downloaded."""
    beside = path.resolve().parent / "tokenizer"
    if beside.is_dir():
        return beside
    from huggingface_hub import snapshot_download

    for cached in (True, False):
        try:
            folder = Path(snapshot_download(TOKENIZER, local_files_only=cached, allow_patterns=TOKENIZER_FILES))
        except Exception as problem:  # noqa: BLE001 — the last one, of the download, is reported
            reason = problem
        else:
            if not cached or has_vocabulary(folder):
                return folder
    raise ModelError(
        f"model {name}",
        f"a single file holds no tokenizer; {TOKENIZER} is not in the local cache, and the download failed",
        f"Put its vocab.json and merges.txt, or any Stable Diffusion's tokenizer folder, at {beside}",
    ) from reason


def rename(part: str, tensors: dict[str, Tensor], network: Any) -> dict[str, Tensor]:
    """Return a part's weights, named as the installed diffusers and transformers name them.

    A training checkpoint also has their moving average, `model_ema.*`. The plain weights are taken: they are what
    published "ema" files, fine-tunes and merges are made of and what other tools load, so that scores can be compared.
    """
    from diffusers.loaders import single_file_utils

    if part == "unet":
        return single_file_utils.convert_ldm_unet_checkpoint(tensors, network.config)
    if part == "vae":
        return single_file_utils.convert_ldm_vae_checkpoint(tensors, network.config)
    if any(key.startswith(OPEN_CLIP) for key in tensors):
        last = f"transformer.resblocks.{network.config.num_hidden_layers}."
        unused = tuple(OPEN_CLIP + end for end in ("text_projection", "logit_scale", "attn_mask", last))
        tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(unused)}
        weights = single_file_utils.convert_open_clip_checkpoint(network, tensors, prefix=OPEN_CLIP)
    else:
        weights = {CLIP.sub("", key): tensor for key, tensor in tensors.items()}
        weights.pop("embeddings.position_ids", None)  # 0, 1, 2, …: a constant in old files
    wrapper = "text_model." if any(key.startswith("text_model.") for key in network.state_dict()) else ""
    return {wrapper + key.removeprefix("text_model."): tensor for key, tensor in weights.items()}
