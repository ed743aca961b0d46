"""A single-file checkpoint (original Stable Diffusion 1.x or 2.x layout) that answers like a diffusers folder.

Nothing is written: each network is made empty from shapes and filled from the file, strictly complete.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bigain_cli.backbones.parts import Parts, quiet, sample
from bigain_cli.backbones.single_checkpoint import SUPPORTED, TEXT, UNET, VAE, Checkpoint, read_checkpoint
from bigain_cli.backbones.single_hints import training_of, warn_of_guess
from bigain_cli.backbones.single_shapes import text_config, unet_config, vae_config
from bigain_cli.backbones.single_tokenizer import tokenizer_folder
from bigain_cli.backbones.single_weights import CLIP, text_weights, unet_weights, vae_weights
from bigain_cli.errors import ModelError

WEIGHTS = {"unet": unet_weights, "vae": vae_weights}


@dataclass(frozen=True)
class SingleFile(Parts):
    """A checkpoint, the configurations read off it, and a tokenizer; `folder` is the file itself."""

    checkpoint: Checkpoint
    configs: dict[str, dict[str, Any]]
    tokenizer: Path

    def has(self, part: str) -> bool:
        """Tell whether there is this part."""
        return part in self.configs or part == "tokenizer"

    def config(self, part: str) -> dict[str, Any]:
        """Return a part's configuration."""
        return self.configs[part]

    def network(self, part: str, kind: Any, dtype: torch.dtype | None = None) -> Any:
        """Load a network's weights, every one of them, ready for inference."""
        from accelerate import init_empty_weights

        with self._explained(part), quiet():
            with init_empty_weights():
                network = kind(**self.configs[part])
            return self._filled(part, network, WEIGHTS[part](self.checkpoint, self.configs[part]), dtype or self.dtype)

    def text(self) -> tuple[Any, Any]:
        """Load the tokenizer and the CLIP text encoder."""
        from accelerate import init_empty_weights
        from transformers import CLIPTextConfig, CLIPTextModel

        tokenizer = self._tokenizer()
        with self._explained("text_encoder"), quiet():
            with init_empty_weights():
                encoder = CLIPTextModel(CLIPTextConfig(**self.configs["text_encoder"]))
            weights = text_weights(self.checkpoint, encoder)
            return tokenizer, self._filled("text_encoder", encoder, weights, self.dtype)

    @property
    def identity(self) -> str:
        """Return a digest of the configurations, the tokenizer and evenly spaced samples of the file."""
        digest = hashlib.blake2b(json.dumps(self.configs, sort_keys=True).encode(), digest_size=8)
        for path in sorted(self.tokenizer.iterdir()):
            if path.suffix in (".json", ".txt"):
                digest.update(path.read_bytes())
        sample(self.checkpoint.path, digest)
        return digest.hexdigest()

    def _tokenizer(self) -> Any:
        """Load the tokenizer; Stable Diffusion 2 was trained with prompts filled up with piece 0, "!"."""
        from transformers import CLIPTokenizer

        config = self.configs["text_encoder"]
        with self._explained("tokenizer"), quiet():
            tokenizer = CLIPTokenizer.from_pretrained(self.tokenizer, local_files_only=True)
            second = self.configs["unet"]["use_linear_projection"]
            pad = tokenizer.convert_ids_to_tokens(0) if second else tokenizer.eos_token
            # set on loading, as in a diffusers folder: what a prompt's own "!" becomes depends on that
            tokenizer = CLIPTokenizer.from_pretrained(self.tokenizer, local_files_only=True, pad_token=pad)
        if len(tokenizer) != config["vocab_size"]:
            why = f"the tokenizer has {len(tokenizer)} pieces, the text encoder knows {config['vocab_size']}"
            raise ModelError(f"model {self.name}", why, f"Put the tokenizer that belongs to it in {self._beside}.")
        tokenizer.model_max_length = min(tokenizer.model_max_length, config["max_position_embeddings"])
        return tokenizer

    @property
    def _beside(self) -> Path:
        return self.checkpoint.path.resolve().parent / "tokenizer"

    def _filled(self, part: str, network: nn.Module, weights: dict[str, Tensor], dtype: torch.dtype) -> nn.Module:
        """Put the weights into an empty network: none may be missing, none left over."""
        wanted = network.state_dict().keys()
        for why, names in (("missing", wanted - weights.keys()), ("unknown", weights.keys() - wanted)):
            if names:
                reason = f"{len(names)} weights are {why} ({min(names)}, …)"
                raise ModelError(f"{self.name}/{part}", reason, SUPPORTED)
        # a copy even where nothing changes: the file's own memory is unaligned, and gone if the file is
        placed = {name: tensor.to(self.device, dtype, copy=True) for name, tensor in weights.items()}
        network.load_state_dict(placed, assign=True)
        return network.to(self.device).eval().requires_grad_(False)


def open_single(name: str, path: Path, device: torch.device, dtype: torch.dtype) -> SingleFile:
    """Open a single-file checkpoint; warn of what had to be guessed."""
    checkpoint = read_checkpoint(name, path)
    configs = _configs(name, checkpoint)
    unet, scale = configs["unet"], 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
    tokenizer = tokenizer_folder(name, path)
    training = training_of(checkpoint, unet["use_linear_projection"], len(unet["block_out_channels"]), scale)
    configs["scheduler"] = training.scheduler()
    unet["sample_size"] = training.size
    warn_of_guess(name, training, scale)
    return SingleFile(name, path, device, dtype, checkpoint, configs, tokenizer)


def _configs(name: str, checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """Read the three architectures off the file's shapes."""
    text = {CLIP.sub("", key): shape for key, shape in checkpoint.shapes.items() if key.startswith(TEXT)}
    text = {key.removeprefix(TEXT): shape for key, shape in text.items()}
    try:
        configs = {
            "unet": unet_config(checkpoint.under(UNET)),
            "vae": vae_config(checkpoint.under(VAE)),
            "text_encoder": text_config(text),
        }
    except (KeyError, ValueError, IndexError) as problem:
        why = f"incomplete, or not built like Stable Diffusion ({' '.join(map(str, problem.args))})"
        raise ModelError(f"model {name}", why, SUPPORTED) from problem
    width, wanted = configs["text_encoder"]["hidden_size"], configs["unet"]["cross_attention_dim"]
    if width != wanted:
        why = f"the text encoder writes {width} numbers per token, the U-Net reads {wanted}"
        raise ModelError(f"model {name}", why, "Use a file whose parts belong together.")
    return configs
