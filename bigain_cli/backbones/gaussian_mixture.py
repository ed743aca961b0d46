"""A backbone in closed form: a mixture of Gaussians per class has an exact denoiser and an exact log p(x | c).

It is the reference of the tests and, over eleven colour names, a model without weights. Must not know networks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from bigain_cli.backbones.base import Conditions, described
from bigain_cli.backbones.colour_names import COLOURS
from bigain_cli.backbones.latents import as_image, fit
from bigain_cli.backbones.model_card import Sampling
from bigain_cli.backbones.noise_schedule import NoiseSchedule
from bigain_cli.backbones.vocabulary import ClassVocabulary
from bigain_cli.compress.site import Site
from bigain_cli.labels.templates import DEFAULT_TEMPLATE
from bigain_cli.views import PLAIN, Views


@dataclass(repr=False)
class GaussianMixture:
    """Components N(μ, σ²I), each of one class; no condition means all of them."""

    means: Tensor  # [m c h w]
    classes: Tensor  # [m] class of each component
    names: Mapping[int, str]
    sigma: float = 0.25
    prediction: str = "epsilon"
    name: str = "mixture"
    identity: str = "mixture"
    family: str = "mixture"
    temperature: float | None = None
    score: str = "l2"
    compress: str = "none"
    draws: int | None = None
    least_draws: int | None = 16
    views: Views = PLAIN
    template: str = DEFAULT_TEMPLATE
    sampling: Sampling = Sampling(guidance=1.0)  # noqa: RUF009 (frozen)
    scale: int = 1
    size_step: int = 1
    guidance_input: bool = False
    distilled: str = ""
    flow: bool = False
    even_steps: bool = False
    any_size: bool = False
    has_prefix: bool = False
    patch: int = 1
    dtype: torch.dtype = torch.float32

    __repr__ = described

    def __post_init__(self) -> None:
        self.device = self.means.device
        vocabulary = ClassVocabulary(self.names, unconditional=len(self.names))
        self.vocabulary: ClassVocabulary | None = vocabulary
        self.class_names = vocabulary.main_names()
        self.latent_shape: tuple[int, int, int] = tuple(self.means.shape[1:])  # type: ignore[assignment]
        self.timesteps, self.timestep_range = 1000, (0, 1000)
        alphas = cosine_alphas(self.timesteps)
        self._process = NoiseSchedule.of(alphas, self.prediction, self.device)
        ratios = alphas / torch.cat([torch.ones(1), alphas[:-1]])
        self.schedule: dict[str, Any] = {"trained_betas": (1 - ratios).tolist(), "prediction_type": self.prediction}

    def encode(self, image: Image) -> Tensor:
        """Return the image at the mixture's size, in −1 … 1."""  # [c h w]
        return fit(image, (self.latent_shape[1], self.latent_shape[2])).to(self.device)

    def decode(self, latents: Tensor) -> list[Image]:
        """Return the latents, which are pixels, as images."""
        return [as_image(latent) for latent in latents]

    def condition(self, prompts: Sequence[str]) -> Conditions:
        """Return class ids."""
        assert self.vocabulary is not None
        return Conditions(torch.tensor([self.vocabulary.find(prompt) for prompt in prompts], device=self.device))

    def vectors(self, conditions: Conditions) -> Tensor:
        """Return the mean image of each class."""  # [k d]
        flat = self.means.flatten(1).double().cpu()
        counts = torch.bincount(self.classes.cpu(), minlength=len(self.names))[:, None]
        sums = torch.zeros(len(self.names), flat.shape[1], dtype=torch.float64).index_add(0, self.classes.cpu(), flat)
        return torch.cat([sums / counts, flat.mean(0, keepdim=True)])[conditions.rows.cpu()]

    def guided(self, conditions: Conditions, guidance: float) -> Conditions:
        """Return the class ids: guidance is no input."""
        return conditions

    def mix(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t."""
        return self._process.mix(clean, noise, t)

    def noise(self, noisy: Tensor, t: Tensor, conditions: Conditions, shared: None = None) -> Tensor:
        """Return E[ε | x_t, c], by way of the network output of this prediction type."""
        a, s = self._process.at(t)
        clean = self._expected_clean(noisy, a, s, conditions.rows)
        return self._process.to_noise(self._network_output(clean, noisy, a, s), noisy, t)

    def velocity(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Refuse: the process is not rectified flow."""
        raise AssertionError("not a flow model")

    def compute_prefix(self, noisy: Tensor, t: Tensor) -> None:
        """Return nothing: the classes share no work."""
        return

    def sites(self) -> tuple[Site, ...]:
        """Return nothing: there is no network."""
        return ()

    def to(self, dtype: torch.dtype) -> None:
        """Stay in float32, the one dtype of a closed form."""

    def log_likelihood(self, clean: Tensor) -> Tensor:
        """Return the exact log p(x | c) of each class."""  # [b classes]
        squares = (clean.unsqueeze(1) - self.means).flatten(2).square().sum(2) / self.sigma**2  # [b m]
        size = self.means[0].numel()
        logs = -squares / 2 - size / 2 * math.log(2 * math.pi * self.sigma**2)
        members = self._members(torch.arange(len(self.names), device=self.device))  # [classes m]
        return torch.logsumexp(logs.unsqueeze(1).masked_fill(~members, -torch.inf), 2) - members.sum(1).log()

    def _members(self, rows: Tensor) -> Tensor:
        """Tell which components belong to each class id."""
        return (self.classes == rows[:, None]) | (rows[:, None] == len(self.names))  # [b m]

    def _expected_clean(self, noisy: Tensor, a: Tensor, s: Tensor, rows: Tensor) -> Tensor:
        """Return E[x | x_t, c]: the components' estimates, weighted by their likelihoods."""
        variance = a**2 * self.sigma**2 + s**2  # [b 1 1 1]
        residuals = noisy.unsqueeze(1) - a.unsqueeze(1) * self.means  # [b m c h w]
        logs = -residuals.flatten(2).square().sum(2) / (2 * variance.flatten(1))  # [b m]
        weights = logs.masked_fill(~self._members(rows), -torch.inf).softmax(1)
        means = torch.einsum("bm,mchw->bchw", weights, self.means)
        return means + a * self.sigma**2 / variance * (noisy - a * means)

    def _network_output(self, clean: Tensor, noisy: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """Return the output of a network with this prediction type."""
        noise = (noisy - a * clean) / s
        return {
            "epsilon": noise,
            "v_prediction": a * noise - s * clean,
            "sample": clean,
            "flow": noise - clean,
        }[self.prediction]


def cosine_alphas(steps: int, least: float = 2e-3) -> Tensor:
    """Return ᾱ of a cosine schedule, kept away from 0 and 1, so that every prediction type can be converted to ε."""
    angles = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps * math.pi / 2
    return angles.cos().square().clamp(least, 1 - least)


SHADES = (0.8, 1.0, 1.2)


def load_colours(device: torch.device) -> GaussianMixture:
    """Make the mixture of flat images in three shades of each basic colour."""
    shades, classes = [], []
    for number, colour in enumerate(COLOURS.values()):
        for shade in SHADES:
            rgb = torch.tensor(colour, dtype=torch.float64) / 127.5 - 1
            shades.append(((rgb + 1) * shade - 1).clamp(-1, 1))
            classes.append(number)
    means = torch.stack(shades).float().reshape(-1, 3, 1, 1).repeat(1, 1, 8, 8)
    identity = "colours-" + hashlib.blake2b(means.numpy().tobytes(), digest_size=8).hexdigest()
    owners = torch.tensor(classes, device=device)
    return GaussianMixture(means.to(device), owners, dict(enumerate(COLOURS)), name="colours", identity=identity)
