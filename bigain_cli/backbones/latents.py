"""Between pictures and a model's own space: a VAE's mean, or pixels in patches. Always float32, one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from bigain_cli.backbones.parts import Parts
from bigain_cli.backbones.pixels import as_picture, fit
from bigain_cli.errors import ModelError


@dataclass(frozen=True)
class Codec:
    """A VAE (or None for pixels), and where the network's input is; pixels come in patches of patch × patch."""

    vae: Any
    device: torch.device
    patch: int = 1

    @staticmethod
    def load(parts: Parts, channels: int, patch: int = 1) -> Codec:
        """Load the folder's VAE in float32, if it has one."""
        if not parts.has("vae"):
            if channels != 3 * patch**2:
                reason = f"no vae/ folder, but the network takes {channels} channels"
                raise ModelError(parts.name, reason, "Complete the folder with the VAE it was trained with.")
            return Codec(None, parts.device, patch)
        from diffusers import AutoencoderKL

        vae = parts.network("vae", AutoencoderKL, torch.float32)
        if vae.config.latent_channels != channels:
            reason = f"the VAE makes {vae.config.latent_channels} channels, the network takes {channels}"
            raise ModelError(parts.name, reason, "Use the VAE that belongs to the model.")
        return Codec(vae, parts.device)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> list[Image]:
        """Return pictures, one by one, so that none depends on its company."""
        return [as_picture(self._pixels(latent)) for latent in latents.float()]

    def _pixels(self, latent: Tensor) -> Tensor:
        if self.vae is None:
            return F.pixel_shuffle(latent, self.patch)
        config = self.vae.config
        clean: Tensor = self.vae.decode(
            (latent / config.scaling_factor + (config.shift_factor or 0.0)).unsqueeze(0)
        ).sample
        return clean[0]

    @torch.inference_mode()
    def encode(self, image: Image, shape: tuple[int, int, int]) -> Tensor:
        """Return the picture in model space."""  # [c h w]
        _, height, width = shape
        if self.vae is None:
            pixels = fit(image, (height * self.patch, width * self.patch))
            return F.pixel_unshuffle(pixels, self.patch).to(self.device)
        config = self.vae.config
        scale = 2 ** (len(config.block_out_channels) - 1)
        pixels = fit(image, (height * scale, width * scale)).to(self.device)
        mean = self.vae.encode(pixels.unsqueeze(0)).latent_dist.mean[0]
        return (mean - (config.shift_factor or 0.0)) * config.scaling_factor
