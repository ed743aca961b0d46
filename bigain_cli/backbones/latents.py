"""Between pictures and a model's own space: a VAE's mean, or plain pixels. Always float32, one picture at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from bigain_cli.backbones.parts import Parts
from bigain_cli.backbones.pixels import fit
from bigain_cli.errors import ModelError


@dataclass(frozen=True)
class Codec:
    """A VAE (or None for pixels), and where the network's input is."""

    vae: Any
    device: torch.device

    @staticmethod
    def load(parts: Parts, channels: int) -> Codec:
        """Load the folder's VAE in float32, if it has one."""
        if not parts.has("vae"):
            if channels != 3:
                reason = f"no vae/ folder, but the network takes {channels} channels"
                raise ModelError(parts.name, reason, "Complete the folder with the VAE it was trained with.")
            return Codec(None, parts.device)
        from diffusers import AutoencoderKL

        vae = parts.network("vae", AutoencoderKL, torch.float32)
        if vae.config.latent_channels != channels:
            reason = f"the VAE makes {vae.config.latent_channels} channels, the network takes {channels}"
            raise ModelError(parts.name, reason, "Use the VAE that belongs to the model.")
        return Codec(vae, parts.device)

    @torch.inference_mode()
    def encode(self, image: Image, shape: tuple[int, int, int]) -> Tensor:
        """Return the picture in model space."""  # [c h w]
        _, height, width = shape
        if self.vae is None:
            return fit(image, (height, width)).to(self.device)
        config = self.vae.config
        scale = 2 ** (len(config.block_out_channels) - 1)
        pixels = fit(image, (height * scale, width * scale)).to(self.device)
        mean = self.vae.encode(pixels.unsqueeze(0)).latent_dist.mean[0]
        return (mean - (config.shift_factor or 0.0)) * config.scaling_factor
