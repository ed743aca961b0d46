"""Backbones of random weights: the network a configuration describes, at its real size, without a download.

In: an alias with a published shape, or a diffusers folder's configurations; out: the backbone contract. Text
encoder and VAE are stubs, since only the network's time is measured: it cannot classify.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.devices import choose_device, choose_dtype, out_of_memory
from bigain_cli.backbones.diffusers_folder import DiffusersFolder, quiet
from bigain_cli.backbones.loading import assemble
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.model_locations import ModelLocation, resolve
from bigain_cli.errors import BigainError, ModelError, UsageError
from bigain_cli.registry import MODELS

Configs = Mapping[str, Mapping[str, Any]]  # by part

_UNET_1 = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,  # diffusers means the number of heads
}
_UNET_2 = {
    **_UNET_1,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
_DIT_XL_2 = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 28,
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "patch_size": 2,
    "num_embeds_ada_norm": 1000,
}
_VAE = {
    "latent_channels": 4,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
_SCALED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_LINEAR = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}


def _stable_diffusion(unet: Mapping[str, Any], prediction: str = "epsilon", latent: int = 64) -> Configs:
    scheduler = {**_SCALED, "prediction_type": prediction}
    return {"unet": {**unet, "sample_size": latent}, "vae": _VAE, "scheduler": scheduler}


def _dit(latent: int) -> Configs:
    return {"transformer": {**_DIT_XL_2, "sample_size": latent}, "vae": _VAE, "scheduler": _LINEAR}


SHAPES: Mapping[str, Configs] = {
    "sd1.4": _stable_diffusion(_UNET_1),
    "sd1.5": _stable_diffusion(_UNET_1),
    "sd2": _stable_diffusion(_UNET_2),
    "sd2-768": _stable_diffusion(_UNET_2, "v_prediction", 96),
    "sd2.1": _stable_diffusion(_UNET_2),
    "sd2.1-768": _stable_diffusion(_UNET_2, "v_prediction", 96),
    "dit-256": _dit(32),
    "dit-512": _dit(64),
}
CONTEXT = 77  # text tokens of every Stable Diffusion 1 and 2


PARTS = ("unet", "transformer", "vae", "scheduler", "text_encoder")
INITIALISED = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm, nn.Embedding)


@dataclass(frozen=True)
class RandomWeightsFolder(DiffusersFolder):
    """A model's configurations, with random weights."""

    configs: Configs
    about: Mapping[str, Any]  # model_index.json
    settings: ModelCard

    @cached_property
    def index(self) -> dict[str, Any]:
        """Return model_index.json, with numbers for the names of a DiT's classes."""
        classes = self.configs.get("transformer", {}).get("num_embeds_ada_norm") or 0
        return {**self.about, "id2label": {str(number): str(number) for number in range(classes)}}

    @cached_property
    def card(self) -> ModelCard:
        """Return the model's card."""
        return self.settings

    @property
    def identity(self) -> str:
        """Return the name of all random weights."""
        return "random"

    def has(self, part: str) -> bool:
        """Tell whether there is this part."""
        return part in self.configs

    def config(self, part: str) -> dict[str, Any]:
        """Return a part's configuration."""
        return dict(self.configs[part])

    def network(self, part: str, kind: Any, dtype: torch.dtype | None = None) -> Any:
        """Make a network, right where and as it is wanted; a VAE stays an outline, for it will not run."""
        from accelerate import init_empty_weights

        config = {key: value for key, value in self.configs[part].items() if not key.startswith("_")}
        with self._explained(part), quiet(), init_empty_weights():
            network = kind.from_config(config)
        if part != "vae":
            fill(network, self.device, dtype or self.dtype)
        return network.eval().requires_grad_(False)

    def text(self) -> tuple[Any, Any]:
        """Return what stands in for the tokenizer and the text encoder."""
        config = self.configs.get("text_encoder", {})
        length = config.get("max_position_embeddings", CONTEXT)
        return StubTokenizer(length), StubTextEncoder(self.configs["unet"]["cross_attention_dim"], self.device)

    @property
    def scale(self) -> int:
        """Return how many pixels lie along a side of a latent's place."""
        return 2 ** (len(self.configs["vae"]["block_out_channels"]) - 1) if self.has("vae") else self.card.patch

    def at(self, size: int) -> RandomWeightsFolder:
        """Return the same architecture for images of another size."""
        part = "unet" if self.has("unet") else "transformer"
        config = self.configs[part]
        step = self.scale * config.get("patch_size", 1)
        if size < 1 or size % step:
            near = max(1, round(size / step)) * step
            raise UsageError(
                f"--size {size}", f"{self.name} works in steps of {step} pixels", f"Nearest: --size {near}."
            )
        return replace(self, configs={**self.configs, part: {**config, "sample_size": size // self.scale}})


class StubTokenizer:
    """Stands in for a tokenizer: every text is as long as texts may be."""

    def __init__(self, length: int) -> None:
        self.model_max_length = length

    def __call__(self, texts: list[str], padding: str, max_length: int) -> Any:
        """Return token numbers, all the same."""
        return SimpleNamespace(input_ids=[[0] * max_length for _ in texts])


class StubTextEncoder(nn.Module):
    """Stands in for a text encoder: says the same random rows of everything."""

    def __init__(self, width: int, device: torch.device) -> None:
        super().__init__()
        self.width, self.device = width, device

    def forward(self, ids: Tensor) -> tuple[Tensor]:
        """Return embeddings."""  # [k n] -> [k n d]
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(ids.shape[1], self.width, generator=generator)
        return (rows.to(self.device).expand(len(ids), -1, -1),)


def load_random(model: str, device: str = "auto", dtype: str = "auto", size: int | None = None) -> Backbone:
    """Make a backbone of random weights: an alias, or a diffusers folder of which only the configurations are read."""
    reference = resolve(model)
    place = choose_device(device)
    kind = choose_dtype(dtype, place)
    sketch = _sketch(reference, place, kind)
    try:
        return assemble(sketch if size is None else sketch.at(size))
    except RuntimeError as problem:
        if not out_of_memory(problem):
            raise
        hint = "Try --dtype bfloat16, a smaller model, or --device cpu."
        raise BigainError("out of memory", f"the weights of {model} do not fit on {place}", hint) from problem


def fill(network: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Give an empty network random weights, drawn where they will stay; the same ones every time."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        for module in network.modules():
            known = isinstance(module, INITIALISED)
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    value = torch.empty(parameter.shape, device=device, dtype=dtype)
                    value = value if known else value.normal_(std=0.02)
                    module._parameters[name] = nn.Parameter(value, requires_grad=False)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = buffer.to(device, dtype if buffer.is_floating_point() else buffer.dtype)
            if known:
                module.reset_parameters()  # keeps activations in range, through any number of blocks


def _sketch(reference: ModelLocation, device: torch.device, dtype: torch.dtype) -> RandomWeightsFolder:
    """Find the configurations."""
    aliases = [name for name in SHAPES if reference.where in (name, MODELS[name].hub)]
    if reference.kind == "folder":
        folder = DiffusersFolder(reference.name, Path(reference.where), device, dtype)
        found = {part: folder.config(part) for part in PARTS if folder.has(part)}
        return RandomWeightsFolder(reference.name, folder.folder, device, dtype, found, folder.index, folder.card)
    if reference.kind == "hub" and aliases:
        return RandomWeightsFolder(reference.name, Path(), device, dtype, SHAPES[aliases[0]], {}, ModelCard())
    why = "has no weights" if reference.kind == "form" else "no configuration to make random weights from"
    hint = f"Known shapes: {', '.join(SHAPES)}; or give a diffusers folder."
    raise ModelError(f"model {reference.name} --random-weights", why, hint)
