"""The noise schedule of a diffusion model: x_t from an image and noise, and ε̂ from whatever a network predicts.

Prediction types (ε, v, x, flow) end here. Must not know networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bigain_cli.backbones.load_errors import reason_of
from bigain_cli.errors import ModelError

# ε̂ from what was predicted, with x_t = a x + s ε.
TO_NOISE: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda output, noisy, a, s: output,
    "v_prediction": lambda output, noisy, a, s: a * output + s * noisy,
    "sample": lambda output, noisy, a, s: (noisy - a * output) / s,
    # Rectified flow is defined on z = (1 − τ) x + τ ε, which is x_t scaled by 1 / (a + s), with τ = s / (a + s).
    "flow": lambda output, noisy, a, s: (noisy + a * output) / (a + s),
}


@dataclass(frozen=True)
class NoiseSchedule:
    """A variance-preserving forward process, x_t = a x + s ε, and the network's prediction type."""

    a: Tensor  # [steps] float32
    s: Tensor  # [steps] float32
    prediction: str

    @staticmethod
    def of(alphas: Tensor, prediction: str, device: torch.device) -> NoiseSchedule:
        """Make the process of a schedule ᾱ, taking the roots in float64."""
        if not isinstance(prediction, str) or prediction not in TO_NOISE:
            raise ModelError(f"prediction type {prediction}", "not supported", f"Known: {', '.join(TO_NOISE)}.")
        exact = alphas.double()
        return NoiseSchedule(exact.sqrt().float().to(device), (1 - exact).sqrt().float().to(device), prediction)

    def __len__(self) -> int:
        return len(self.a)

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and s for each row; between two timesteps s / a is interpolated, as samplers do."""  # [b 1 1 1]
        if not t.is_floating_point():
            return self.a[t].reshape(-1, 1, 1, 1), self.s[t].reshape(-1, 1, 1, 1)
        before, ratios = t.floor().long(), self.s / self.a
        after = (before + 1).clamp(max=len(self) - 1)
        sigma = torch.lerp(ratios[before], ratios[after], t - before).reshape(-1, 1, 1, 1)
        a = (1 + sigma.square()).rsqrt()
        return a, sigma * a

    def mix(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t."""
        a, s = self.at(t)
        return a * clean + s * noise

    def to_noise(self, output: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Return ε̂ from the network's output, in float32."""
        a, s = self.at(t)
        return TO_NOISE[self.prediction](output.float(), noisy, a, s)


BETAS = ("beta_start", "beta_schedule", "trained_betas")
MOST_STEPS = 100_000
SCHEDULE_KEYS = ("num_train_timesteps", "beta_end", "rescale_betas_zero_snr", *BETAS)


def noise_schedule(scheduler_config: dict[str, Any], device: torch.device) -> NoiseSchedule:
    """Read the forward process from a diffusers scheduler's configuration, whatever sampler it was saved for."""
    from diffusers import DDPMScheduler

    name = str(scheduler_config.get("_class_name", ""))
    has_betas = any(key in scheduler_config for key in BETAS)
    if "Flow" in name or "EDM" in name or not has_betas:
        hint = "U-Nets and DiTs that were trained with a known beta schedule are supported."
        raise ModelError("noise schedule", f"{name or 'its scheduler'} has no betas", hint)
    known = {key: scheduler_config[key] for key in SCHEDULE_KEYS if scheduler_config.get(key) is not None}
    hint = "U-Nets and DiTs use the known beta schedules."
    steps = known.get("num_train_timesteps", 1)
    if not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise ModelError("noise schedule", f"num_train_timesteps is {steps!r}; at most {MOST_STEPS}", hint)
    try:
        alphas: Tensor = vars(DDPMScheduler(**known))["alphas_cumprod"]
    except Exception as problem:  # whatever the values make the scheduler raise
        raise ModelError("noise schedule", reason_of(problem), hint) from problem
    if alphas.ndim != 1 or not bool(((alphas >= 0) & (alphas <= 1)).all()):
        raise ModelError("noise schedule", "its betas leave no share of the image between 0 and 1", hint)
    return NoiseSchedule.of(alphas, scheduler_config.get("prediction_type") or "epsilon", device)
