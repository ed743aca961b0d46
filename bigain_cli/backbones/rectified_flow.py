"""Rectified flow: the forward process of today's models, z = (1 − τ) x + τ ε with τ = t / steps.

Its networks predict the velocity v = ε − x, so ε̂ = z + (1 − τ) v̂, and |ε̂ − ε|² = (1 − τ)² |v̂ − v|². Draws are uniform
in t, as in the model's own time. Must not know networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bigain_cli.backbones.noise_schedule import MOST_STEPS, TO_NOISE
from bigain_cli.errors import ModelError
from bigain_cli.limits import is_whole

STEPS = 1000  # of published models


@dataclass(frozen=True)
class RectifiedFlow:
    """A straight path from the image (t = 0) to noise (t = steps), and the network's prediction type."""

    steps: int = STEPS
    prediction: str = "flow"

    def __len__(self) -> int:
        return self.steps

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shares of the image and of the noise for each row."""  # [b 1 1 1]
        tau = (t.float() / self.steps).reshape(-1, 1, 1, 1)
        return 1 - tau, tau

    def mix(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return z."""
        a, s = self.at(t)
        return a * clean + s * noise

    def to_noise(self, output: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Return ε̂ from the network's output, in float32."""
        a, s = self.at(t)
        if self.prediction == "v_prediction":  # which is defined on a path whose variance is kept
            norm = (a.square() + s.square()).sqrt()
            a, s, noisy = a / norm, s / norm, noisy / norm
        return TO_NOISE[self.prediction](output.float(), noisy, a, s)

    def to_velocity(self, output: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Return v̂ from the network's output, in float32, at t = steps, too, where ε̂ no longer contains it."""
        if self.prediction == "flow":
            return output.float()
        a, _ = self.at(t)
        return (self.to_noise(output, noisy, t) - noisy) / a


def rectified_flow(scheduler_config: dict[str, Any]) -> RectifiedFlow:
    """Read the process from a scheduler's configuration; its shift belongs to sampling, not to the process."""
    steps = scheduler_config.get("num_train_timesteps", STEPS)
    if not is_whole(steps) or not 2 <= steps <= MOST_STEPS:
        why = f"num_train_timesteps is {steps!r}, not a whole number from 2 to {MOST_STEPS}"
        raise ModelError("noise schedule", why, "Flow matching models have 1000.")
    return RectifiedFlow(steps)
