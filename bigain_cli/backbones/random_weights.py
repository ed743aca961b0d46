"""Backbones with random weights: networks at their real size, without a download, to measure their time.

In: an alias with published configurations, or a diffusers folder's configurations; out: the backbone contract. The text
encoder is a stub and the VAE has no weights, so these backbones cannot classify.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.batch_sizes import out_of_memory
from bigain_cli.backbones.devices import choose_device, choose_dtype
from bigain_cli.backbones.diffusers_folder import DiffusersFolder, quiet
from bigain_cli.backbones.loading import assemble
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.model_locations import ModelLocation, resolve
from bigain_cli.backbones.published_configs import (
    CONTEXT,
    PACKING,
    PUBLISHED_CONFIGS,
    TOKENIZER_LENGTH,
    Configs,
)
from bigain_cli.backbones.random_parameters import initialise
from bigain_cli.backbones.stub_text_encoders import StubTextEncoder, StubTokenizer, width_of
from bigain_cli.errors import BigainError, ModelError, UsageError
from bigain_cli.registry import MODELS

PARTS = ("unet", "transformer", "vae", "scheduler", "text_encoder", "text_encoder_2", "text_encoder_3")


@dataclass(frozen=True)
class RandomWeightsFolder(DiffusersFolder):
    """A model's configurations, with random weights."""

    configs: Configs
    model_index: Mapping[str, Any]
    model_card: ModelCard

    @cached_property
    def index(self) -> dict[str, Any]:
        """Return model_index.json, with a DiT's class ids for its class names."""
        classes = self.configs.get("transformer", {}).get("num_embeds_ada_norm") or 0
        return {**self.model_index, "id2label": {str(number): str(number) for number in range(classes)}}

    @cached_property
    def card(self) -> ModelCard:
        """Return the model's card."""
        return self.model_card

    @property
    def identity(self) -> str:
        """Return the identity of all random weights."""
        return "random"

    def has(self, part: str) -> bool:
        """Tell whether there is this part."""
        return part in self.configs

    def config(self, part: str) -> dict[str, Any]:
        """Return a part's configuration."""
        return dict(self.configs[part])

    def network(self, part: str, kind: Any, dtype: torch.dtype | None = None) -> Any:
        """Make a network with random weights; a VAE gets none, since it will not run."""
        from accelerate import init_empty_weights

        config = {key: value for key, value in self.configs[part].items() if not key.startswith("_")}
        with self._load_errors(part), quiet(), init_empty_weights():
            network = kind.from_config(config)
        if part != "vae":
            initialise(network, self.device, dtype or self.dtype)
        return network.eval().requires_grad_(False)

    def check(self, *parts: str) -> None:
        """Refuse parts without a configuration; there are no other files."""
        for part in parts:
            if not self.has(part):
                raise ModelError(f"{self.name}/{part}", "no configuration of it", "Save the whole pipeline.")

    def text(self) -> tuple[Any, Any]:
        """Return stubs for the tokenizer and the text encoder."""
        config = self.configs.get("text_encoder", {})
        length = config.get("max_position_embeddings", CONTEXT)
        return StubTokenizer(length), StubTextEncoder(self.configs["unet"]["cross_attention_dim"], self.device)

    def text_encoder(self, part: str, kind: str, tokenizer_kind: str, dtype: torch.dtype) -> tuple[Any, Any]:
        """Return stubs for one of several text encoders and its tokenizer."""
        config = self.configs[part]
        length = config.get("max_position_embeddings", TOKENIZER_LENGTH)
        projected = config["projection_dim"] if kind.endswith("WithProjection") else 0
        return StubTokenizer(length), StubTextEncoder(width_of(config), self.device, dtype, projected)

    def known_prompts(self) -> dict[str, Tensor]:
        """Return nothing: the folder's text encoder is not used."""
        return {}

    @property
    def scale(self) -> int:
        """Return the number of pixels along a side of one latent position."""
        return 2 ** (len(self.configs["vae"]["block_out_channels"]) - 1) if self.has("vae") else self.card.patch

    def for_size(self, size: int) -> RandomWeightsFolder:
        """Return the same architecture for images of another size."""
        part = "unet" if self.has("unet") else "transformer"
        config = self.configs[part]
        patch = PACKING.get(config.get("_class_name", "")) or int(config.get("patch_size", 1))
        step = self.scale * patch
        if size < 1 or size % step:
            nearest = f"Nearest: --size {max(1, round(size / step)) * step}."
            raise UsageError(f"--size {size}", f"{self.name} works in steps of {step} pixels", nearest)
        return replace(self, configs={**self.configs, part: {**config, "sample_size": size // self.scale}})


def load_random(model: str, device: str = "auto", dtype: str = "auto", size: int | None = None) -> Backbone:
    """Make a backbone with random weights, from an alias or from the configurations of a diffusers folder."""
    location, torch_device = resolve(model), choose_device(device)
    folder = _open(location, torch_device, choose_dtype(dtype, torch_device))
    try:
        backbone = assemble(folder if size is None else folder.for_size(size))
        if size is not None:  # some networks' configurations name no size
            side = size // backbone.scale
            backbone.latent_shape = (backbone.latent_shape[0], side, side)
        return backbone
    except RuntimeError as problem:
        if not out_of_memory(problem):
            raise
        hint = "Try --dtype bfloat16, a smaller model, or --device cpu."
        raise BigainError("out of memory", f"the weights of {model} do not fit on {torch_device}", hint) from problem


def _open(location: ModelLocation, device: torch.device, dtype: torch.dtype) -> RandomWeightsFolder:
    """Find the configurations of a model."""
    hubs = {name: model.hub for name, model in MODELS.items()}
    aliases = [name for name in PUBLISHED_CONFIGS if location.where in (name, hubs.get(name))]
    if location.kind == "folder":
        folder = DiffusersFolder(location.name, Path(location.where), device, dtype)
        found = {part: folder.config(part) for part in PARTS if folder.has(part)}
        return RandomWeightsFolder(location.name, folder.folder, device, dtype, found, folder.index, folder.card)
    if location.kind == "hub" and aliases:
        configs = PUBLISHED_CONFIGS[aliases[0]]
        index = configs.get("model_index", {})
        return RandomWeightsFolder(location.name, Path(), device, dtype, configs, index, ModelCard())
    why = "has no weights" if location.kind == "form" else "no configuration to make random weights from"
    hint = f"Known shapes: {', '.join(PUBLISHED_CONFIGS)}; or give a diffusers folder."
    raise ModelError(f"model {location.name} --random-weights", why, hint)
