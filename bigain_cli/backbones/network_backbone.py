"""The part of the backbone contract that all diffusers networks share; a family adds its condition and its noise.

In: the parts of a model, loaded; out: all of `Backbone` but `family`, `any_size`, `vocabulary` and what the condition
enters. Must not know families.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from bigain_cli.backbones.base import described
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.latents import ImageCodec
from bigain_cli.backbones.load_errors import run_errors
from bigain_cli.backbones.noise_schedule import NoiseSchedule
from bigain_cli.compress.sites import Site, sites_of
from bigain_cli.errors import ModelError

LARGEST_LATENT = 1024  # positions along a side: 8,192 pixels with Stable Diffusion's VAE


class NetworkBackbone:
    """A network of diffusers with its noise schedule, its VAE and its model card."""

    def __init__(
        self, parts: DiffusersFolder, network: nn.Module, codec: ImageCodec, process: NoiseSchedule, guidance: float
    ) -> None:
        """Take the loaded parts, and the guidance of the family's authors."""
        self.network, self.codec, self.process = network, codec, process
        self.name, self.identity = parts.name, parts.identity
        card = parts.card
        self.score, self.temperature = card.score, card.temperature
        self.compress, self.template = card.compress, card.template
        self.draws, self.least_draws = card.draws, card.least_draws
        self.timesteps, self.timestep_range = len(process), card.timestep_range(len(process))
        self.sampling = card.sampling.with_guidance(guidance)
        self.schedule = parts.config("scheduler")
        self.scale, self.patch = codec.scale, codec.patch
        config: Any = network.config
        self.latent_shape = (config.in_channels, *_pair(parts.name, config.sample_size))

    __repr__ = described

    @property
    def device(self) -> torch.device:
        """Return the device of the network's weights."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the network's weights."""
        return next(self.network.parameters()).dtype

    def encode(self, image: Image) -> Tensor:
        """Return the VAE's mean, or the pixels."""  # [c h w]
        with run_errors(self.name):
            return self.codec.encode(image, self.latent_shape)

    def decode(self, latents: Tensor) -> list[Image]:
        """Return the VAE's images, or the pixels."""
        with run_errors(self.name):
            return self.codec.decode(latents)

    def mix(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t."""
        return self.process.mix(clean, noise, t)

    def sites(self) -> tuple[Site, ...]:
        """List the self-attentions, in running order."""
        return sites_of(self.network)


def _pair(name: str, size: Any) -> tuple[int, int]:
    """Return the height and width of latents."""
    sides = [size, size] if isinstance(size, int) else list(size) if isinstance(size, list | tuple) else []
    if len(sides) != 2 or not all(isinstance(side, int) and 1 <= side <= LARGEST_LATENT for side in sides):
        why = f"sample_size is {size!r}, not one or two whole numbers up to {LARGEST_LATENT}"
        raise ModelError(name, why, "Correct it in the network's config.json.")
    return sides[0], sides[1]
