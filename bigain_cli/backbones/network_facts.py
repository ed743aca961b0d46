"""How the networks of a family speak: five facts, from which all of a family's inputs and outputs follow.

The time that they are given, the sign of what they return, how latents are packed into tokens, what is predicted, and
the numbers between a VAE and the network. Must not know families.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class LatentScale:
    """From a VAE's latents to the network's: less a shift or the channels' means, times a scale, over deviations."""

    scale: float = 1.0
    shift: float = 0.0
    means: tuple[float, ...] = ()  # of each channel
    deviations: tuple[float, ...] = ()

    def to_network(self, latent: Tensor) -> Tensor:
        """Return the network's latent."""  # of [c h w]
        if not self.means:
            return (latent - self.shift) * self.scale
        means, deviations = self._statistics(latent)
        return (latent - means) * self.scale / deviations

    def to_vae(self, latent: Tensor) -> Tensor:
        """Return the VAE's latent."""  # of [c h w]
        if not self.means:
            return latent / self.scale + self.shift
        means, deviations = self._statistics(latent)
        return latent * deviations / self.scale + means

    def _statistics(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        means, deviations = (latent.new_tensor(values).view(-1, 1, 1) for values in (self.means, self.deviations))
        return means, deviations


@dataclass(frozen=True)
class NetworkFacts:
    """What has to be known to give a network x_t and t, and to read its output.

    `t` runs over the model's own timesteps, 0 to `steps`: from the image to noise.
    """

    prediction: str | None = None  # "epsilon", "v_prediction", "sample" or "flow"; None: as its scheduler says
    time_scale: float = 1.0  # the network is given t times this
    reversed_time: bool = False  # whether its own clock runs from noise to the image
    sign: float = 1.0  # of its output
    packing: int = 1  # squares of so many positions along a side are one token's channels
    latents: LatentScale = field(default_factory=LatentScale)  # as its VAE's configuration says

    def time(self, t: Tensor, steps: int) -> Tensor:
        """Return the time that the network is given."""  # [b]
        own = steps - t if self.reversed_time else t
        return own if self.time_scale == 1 else own.float() * self.time_scale

    def pack(self, latents: Tensor) -> Tensor:
        """Return latents as the network takes them: as they are, or as tokens, the channels of a square outermost."""
        if self.packing == 1:
            return latents
        p, (b, c, h, w) = self.packing, latents.shape
        squares = latents.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5)
        return squares.reshape(b, (h // p) * (w // p), c * p * p)  # [b n c·p·p]

    def unpack(self, output: Tensor, shape: torch.Size) -> Tensor:
        """Return the output in the shape of the latents, with its sign; of a learned variance nothing is left."""
        b, c, h, w = shape
        if self.packing > 1:
            p = self.packing
            squares = output.reshape(b, h // p, w // p, c, p, p).permute(0, 3, 1, 4, 2, 5)
            output = squares.reshape(b, c, h, w)
        output = output[:, :c]
        return output if self.sign == 1 else output * self.sign


def latent_scale(config: Any) -> LatentScale:
    """Read the numbers of a VAE from its configuration."""
    means, deviations = config.get("latents_mean"), config.get("latents_std")
    statistics = (tuple(means), tuple(deviations)) if means and deviations else ((), ())
    return LatentScale(config["scaling_factor"], config.get("shift_factor") or 0.0, *statistics)
