"""Images to a model's own space and back: a VAE's mean, or pixels in patches, in float32.

In: upright RGB images; the largest central part of the model's proportions is kept. One image at a time, so that none
depends on others. Must not know networks other than the VAE.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PIL
from PIL.Image import Image
from torch import Tensor

from bigain_cli.backbones.devices import full_float32
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.network_facts import LatentScale, latent_scale
from bigain_cli.errors import ModelError
from bigain_cli.images import crop_and_resize
from bigain_cli.limits import is_number


def fit(image: Image, size: tuple[int, int]) -> Tensor:
    """Return the largest central part with the model's proportions, resized to height × width."""  # [3 h w]
    height, width = size
    pixels = torch.from_numpy(np.array(crop_and_resize(image, (width, height)), dtype=np.float32))  # [h w 3]
    return (pixels / 127.5 - 1).permute(2, 0, 1).contiguous()


def as_image(pixels: Tensor) -> Image:
    """Return the image of −1 … 1, rounded as diffusers rounds."""  # of [3 h w]
    values = (pixels / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return PIL.fromarray((values * 255).round().astype("uint8"))


@dataclass(frozen=True)
class ImageCodec:
    """A VAE and its device; without a VAE, squares of patch × patch pixels are the channels of one position."""

    vae: Any
    device: torch.device
    patch: int = 1
    latents: LatentScale = field(default_factory=LatentScale)  # between the VAE and the network

    @staticmethod
    def load(parts: DiffusersFolder, channels: int, patch: int = 1) -> ImageCodec:
        """Load the folder's VAE in float32, if it has one."""
        if not parts.has("vae"):
            if channels != 3 * patch**2:
                reason = f"no vae/ folder, but the network takes {channels} channels"
                raise ModelError(parts.name, reason, "Complete the folder with the VAE it was trained with.")
            return ImageCodec(None, parts.device, patch)
        from diffusers import AutoencoderKL

        vae = parts.network("vae", AutoencoderKL, torch.float32)
        if vae.config.latent_channels != channels:
            reason = f"the VAE makes {vae.config.latent_channels} channels, the network takes {channels}"
            raise ModelError(parts.name, reason, "Use the VAE that belongs to the model.")
        _check_numbers(f"{parts.name}/vae/config.json", vae.config, channels)
        return ImageCodec(vae, parts.device, latents=latent_scale(vae.config))

    @property
    def scale(self) -> int:
        """Return the number of pixels along a side of one latent position."""
        return self.patch if self.vae is None else int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @torch.inference_mode()
    def encode(self, image: Image, shape: tuple[int, int, int]) -> Tensor:
        """Return the image in model space."""  # [c h w]
        _, height, width = shape
        pixels = fit(image, (height * self.scale, width * self.scale)).to(self.device)
        if self.vae is None:
            return F.pixel_unshuffle(pixels, self.patch)
        with full_float32(self.device):
            mean = self.vae.encode(pixels.unsqueeze(0)).latent_dist.mean[0]
        return self.latents.to_network(mean)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> list[Image]:
        """Return images, decoded one by one."""
        return [as_image(self._pixels(latent)) for latent in latents.float()]

    def _pixels(self, latent: Tensor) -> Tensor:
        if self.vae is None:
            return F.pixel_shuffle(latent, self.patch)
        unscaled = self.latents.to_vae(latent)
        with full_float32(self.device):
            pixels: Tensor = self.vae.decode(unscaled.unsqueeze(0)).sample[0]
        return pixels


def _check_numbers(what: str, config: Any, channels: int) -> None:
    """Refuse a VAE whose latents cannot be scaled."""
    for key in ("scaling_factor", "shift_factor"):
        value = getattr(config, key)
        if value is not None and not is_number(value):
            raise ModelError(what, f"{key} is no number", "Save the VAE again.")
    if not config.scaling_factor:
        raise ModelError(what, "scaling_factor is missing", "Save the VAE again.")
    for key in ("latents_mean", "latents_std"):
        values = config.get(key) or [1.0] * channels
        if not (isinstance(values, list | tuple) and len(values) == channels and all(map(is_number, values))):
            raise ModelError(what, f"{key} is not {channels} numbers", "Save the VAE again.")
