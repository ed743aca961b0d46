"""The part of the backbone contract that all diffusers networks share; a family adds its condition and its noise.

In: the parts of a model, of which the network may still be on disk; out: all of `Backbone` but `family`, `any_size`,
`vocabulary` and what the condition enters. Must not know families.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from bigain_cli.backbones.base import Conditions, described, mean_of_tokens
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.latents import ImageCodec
from bigain_cli.backbones.load_errors import run_errors
from bigain_cli.backbones.noise_schedule import NoiseSchedule
from bigain_cli.backbones.rectified_flow import RectifiedFlow
from bigain_cli.compress.sites import Site, sites_of
from bigain_cli.errors import ModelError
from bigain_cli.views import read_views

LARGEST_LATENT = 1024  # positions along a side: 8,192 pixels with Stable Diffusion's VAE


class NetworkBackbone:
    """A network of diffusers with its noise schedule, its VAE and its model card."""

    guidance_input = False
    distilled = ""
    even_steps = False

    def __init__(
        self,
        parts: DiffusersFolder,
        load_network: Callable[[], Any],
        codec: ImageCodec,
        process: NoiseSchedule | RectifiedFlow,
        guidance: float,
        latent_shape: tuple[int, int, int],
    ) -> None:
        """Take the parts, how to load the network, and the guidance of the family's authors."""
        self._load_network, self.codec, self.process = load_network, codec, process
        self.name, self.identity = parts.name, parts.identity
        card = parts.card
        self.score, self.temperature = card.score, card.temperature
        self.compress, self.template = card.compress, card.template
        self.draws, self.least_draws, self.views = card.draws, card.least_draws, read_views(card.views)
        self.timesteps, self.timestep_range = len(process), card.timestep_range(len(process))
        self.flow = isinstance(process, RectifiedFlow)
        self.sampling = card.sampling.with_guidance(guidance)
        self.schedule = parts.config("scheduler")
        self.scale, self.patch, self.size_step = codec.scale, codec.patch, codec.scale
        self.latent_shape = latent_shape

    __repr__ = described

    @cached_property
    def network(self) -> Any:
        """The network, which is loaded when it is needed."""
        return self._load_network()

    @property
    def device(self) -> torch.device:
        """Return the device of the network's weights."""
        device: torch.device = next(self.network.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the network's weights."""
        dtype: torch.dtype = next(self.network.parameters()).dtype
        return dtype

    def encode(self, image: Image) -> Tensor:
        """Return the VAE's mean, or the pixels."""  # [c h w]
        with run_errors(self.name):
            return self.codec.encode(image, self.latent_shape)

    def decode(self, latents: Tensor) -> list[Image]:
        """Return the VAE's images, or the pixels."""
        with run_errors(self.name):
            return self.codec.decode(latents)

    def vectors(self, conditions: Conditions) -> Tensor:
        """Return the mean of each text embedding's tokens."""  # [k d]
        return mean_of_tokens(conditions)

    def guided(self, conditions: Conditions, guidance: float) -> Conditions:
        """Return the conditions as they are: guidance is no input."""
        return conditions

    def mix(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t."""
        return self.process.mix(clean, noise, t)

    def velocity(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Refuse: only networks of rectified flow are asked for it."""
        raise AssertionError("not a flow model")

    def sites(self) -> tuple[Site, ...]:
        """List the self-attentions, in running order."""
        return sites_of(self.network)


def latent_shape_of(name: str, channels: int, size: Any) -> tuple[int, int, int]:
    """Return the shape of latents of a configuration's size, one or two whole numbers."""
    sides = [size, size] if isinstance(size, int) else list(size) if isinstance(size, list | tuple) else []
    if len(sides) != 2 or not all(isinstance(side, int) and 1 <= side <= LARGEST_LATENT for side in sides):
        why = f"sample_size is {size!r}, not one or two whole numbers up to {LARGEST_LATENT}"
        raise ModelError(name, why, "Correct it in the network's config.json.")
    return channels, sides[0], sides[1]
