"""The contract of all diffusion models, and the noise schedules behind it.

Whatever type of prediction a network was trained for, `Backbone.noise` returns ε. Must not know families.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from PIL.Image import Image
from torch import Tensor

from bigain_cli.backbones.model_card import Sampling
from bigain_cli.backbones.vocabulary import ClassVocabulary
from bigain_cli.compress.sites import Site
from bigain_cli.errors import ModelError


@dataclass(frozen=True)
class Conditions:
    """The conditions of a network, one row per prompt: text embeddings [k n d], or class ids [k]."""

    rows: Tensor

    def take(self, index: Tensor) -> Conditions:
        """Return the rows at `index`."""
        return Conditions(self.rows.index_select(0, index))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def text_tokens(self) -> int:
        """The number of text tokens of each prompt; one for a class id."""
        return self.rows.shape[1] if self.rows.ndim == 3 else 1


class Shared(Protocol):
    """The part of a network's work that no label enters, one row per (image, draw)."""

    def take(self, index: Tensor) -> Shared:
        """Return the rows at `index`."""


class Backbone(Protocol):
    """A diffusion model that predicts the noise in a latent, given a prompt or a class."""

    name: str  # as the user gave it
    identity: str  # changes when the weights or the configuration do
    family: str
    device: torch.device
    dtype: torch.dtype
    timesteps: int  # of the noise schedule
    timestep_range: tuple[int, int]  # low ≤ t < high; draws take their timesteps from it
    schedule: Mapping[str, Any]  # the schedule as a diffusers scheduler's configuration, for samplers
    latent_shape: tuple[int, int, int]
    scale: int  # pixels along a side of one latent position
    any_size: bool  # whether the network takes latents of other heights and widths
    patch: int  # pixels along a side that are channels of one position of a pixel-space network; else 1
    vocabulary: ClassVocabulary | None  # the class names of a label-conditioned model; None: any text
    has_prefix: bool  # whether part of the network runs before the label enters
    temperature: float | None  # of the probabilities under `score`, if it was fitted
    score: str  # the score that was measured to be best
    compress: str  # the compression that was measured to be best for classifying
    draws: int | None  # per label; more were measured not to improve accuracy
    template: str  # of a label's prompt
    sampling: Sampling  # the best settings for generating

    def encode(self, image: Image) -> Tensor:
        """Return the image in model space, float32, deterministic (a VAE's mean, not a sample)."""  # [c h w]

    def decode(self, latents: Tensor) -> list[Image]:
        """Return images from model space."""  # of [b c h w]

    def condition(self, prompts: Sequence[str]) -> Conditions:
        """Return embeddings or class ids; the empty prompt means no condition."""

    def mix(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t in float32."""  # [b c h w]

    def noise(self, noisy: Tensor, t: Tensor, conditions: Conditions, shared: Shared | None = None) -> Tensor:
        """Return the predicted ε, in float32."""  # [b c h w]

    def compute_prefix(self, noisy: Tensor, t: Tensor) -> Shared | None:
        """Compute the part of `noise` that no label enters, if there is any."""

    def sites(self) -> Iterable[Site]:
        """List the self-attentions that may be compressed."""

    def to(self, dtype: torch.dtype) -> None:
        """Compute in another dtype from now on."""


def join(parts: Sequence[Any]) -> Any:
    """Concatenate tensors, or equal nests of tuples, lists and dicts of tensors, row-wise."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, dict):
        return {key: join([part[key] for part in parts]) for key in first}
    return type(first)(join(list(column)) for column in zip(*parts, strict=True))


def pick(nest: Any, index: Tensor) -> Any:
    """Take rows of every tensor in a nest."""
    if isinstance(nest, Tensor):
        return nest.index_select(0, index)
    if isinstance(nest, dict):
        return {key: pick(value, index) for key, value in nest.items()}
    return type(nest)(pick(value, index) for value in nest)


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
        if prediction not in TO_NOISE:
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
SCHEDULE_KEYS = ("num_train_timesteps", "beta_end", "rescale_betas_zero_snr", *BETAS)


def noise_schedule(scheduler_config: dict[str, Any], device: torch.device) -> NoiseSchedule:
    """Read the forward process from a diffusers scheduler's configuration, whatever sampler it was saved for."""
    from diffusers import DDPMScheduler

    name = scheduler_config.get("_class_name", "")
    has_betas = any(key in scheduler_config for key in BETAS)
    if "Flow" in name or "EDM" in name or not has_betas:
        hint = "U-Nets and DiTs that were trained with a known beta schedule are supported."
        raise ModelError("noise schedule", f"{name or 'its scheduler'} has no betas", hint)
    known = {key: scheduler_config[key] for key in SCHEDULE_KEYS if scheduler_config.get(key) is not None}
    try:
        alphas: Tensor = vars(DDPMScheduler(**known))["alphas_cumprod"]
    except (NotImplementedError, TypeError, ValueError) as problem:
        raise ModelError("noise schedule", str(problem), "U-Nets and DiTs use the known beta schedules.") from problem
    return NoiseSchedule.of(alphas, scheduler_config.get("prediction_type") or "epsilon", device)
