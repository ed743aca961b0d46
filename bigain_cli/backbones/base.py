"""The contract of all diffusion models: whatever a network predicts, `Backbone.noise` returns ε.

Must not know families.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from PIL.Image import Image
from torch import Tensor

from bigain_cli.backbones.model_card import Sampling
from bigain_cli.backbones.vocabulary import ClassVocabulary
from bigain_cli.compress.site import Site
from bigain_cli.compress.spec import Spec, parse
from bigain_cli.views import Views


@dataclass(frozen=True)
class Conditions:
    """The conditions of a network, one row per prompt: text embeddings [k n d], or class ids [k].

    `more` holds what else a network wants of each prompt, by name: a pooled embedding [k d], a mask of tokens [k n].
    """

    rows: Tensor
    more: Mapping[str, Tensor] = field(default_factory=dict)

    def take(self, index: Tensor) -> Conditions:
        """Return the rows at `index` of every tensor."""
        return Conditions(self.rows.index_select(0, index), pick(dict(self.more), index))

    @staticmethod
    def join(parts: Sequence[Conditions]) -> Conditions:
        """Concatenate row-wise."""
        return Conditions(join([part.rows for part in parts]), join([dict(part.more) for part in parts]))

    def tensors(self) -> tuple[Tensor, ...]:
        """Return every tensor, one row per prompt each."""
        return (self.rows, *(self.more[name] for name in sorted(self.more)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def text_tokens(self) -> int:
        """The number of text tokens of each prompt; one for a class id."""
        return self.rows.shape[1] if self.rows.ndim == 3 else 1


class Prefix(Protocol):
    """The part of a network's work that no label enters, one row per (image, draw)."""

    def take(self, index: Tensor) -> Prefix:
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
    flow: bool  # whether the forward process is rectified flow, and samplers get the velocity
    even_steps: bool  # whether its authors sample a flow at times that are equally far apart, but for the shift
    schedule: Mapping[str, Any]  # the schedule as a diffusers scheduler's configuration, for samplers
    latent_shape: tuple[int, int, int]
    scale: int  # pixels along a side of one latent position
    size_step: int  # pixels: sides of images that the network takes are multiples of it
    guidance_input: bool  # whether the network is told the guidance, in place of a second evaluation
    distilled: str  # by what it is seen that few steps were distilled into the network; empty: they were not
    any_size: bool  # whether the network takes latents of other heights and widths
    patch: int  # pixels along a side that are channels of one position of a pixel-space network; else 1
    vocabulary: ClassVocabulary | None  # the class names of a label-conditioned model; None: any text
    class_names: tuple[str, ...]  # of a model that knows its own classes, the main name of each; empty: any text
    has_prefix: bool  # whether part of the network runs before the label enters
    temperature: float | None  # of the probabilities under `score`, if it was fitted
    score: str  # the score that was measured to be best
    compress: str  # the compression that was measured to be best for classifying
    draws: int | None  # per label; more were measured not to improve accuracy
    least_draws: int | None  # that settle an answer, if its errors were measured to have no rare part; else many
    views: Views  # of the image, of which each draw takes one
    template: str  # of a label's prompt
    sampling: Sampling  # the best settings for generating

    def encode(self, image: Image) -> Tensor:
        """Return the image in model space, float32, deterministic (a VAE's mean, not a sample)."""  # [c h w]

    def decode(self, latents: Tensor) -> list[Image]:
        """Return images from model space."""  # of [b c h w]

    def condition(self, prompts: Sequence[str]) -> Conditions:
        """Return embeddings or class ids; the empty prompt means no condition."""

    def vectors(self, conditions: Conditions) -> Tensor:
        """Return a vector of each condition, on the CPU in float64: what is alike for the network is near."""  # [k d]

    def guided(self, conditions: Conditions, guidance: float) -> Conditions:
        """Return conditions that tell a network with a guidance input its guidance; others as they are."""

    def mix(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t in float32."""  # [b c h w]

    def noise(self, noisy: Tensor, t: Tensor, conditions: Conditions, shared: Prefix | None = None) -> Tensor:
        """Return the predicted ε, in float32."""  # [b c h w]

    def velocity(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Return the predicted ε − x of rectified flow, in float32: it is known at t = steps, too."""  # [b c h w]

    def compute_prefix(self, noisy: Tensor, t: Tensor) -> Prefix | None:
        """Compute the part of `noise` that no label enters, if there is any."""

    def sites(self) -> Iterable[Site]:
        """List the self-attentions that may be compressed."""

    def to(self, dtype: torch.dtype) -> None:
        """Compute in another dtype from now on."""


def mean_of_tokens(conditions: Conditions) -> Tensor:
    """Return the mean of each text embedding's tokens, without those that only fill it up."""  # [k d]
    tokens, mask = conditions.rows, conditions.more.get("mask")
    if mask is None:
        return tokens.mean(1, dtype=torch.float64).cpu()
    weights = mask.to(tokens.device, torch.float64)[:, :, None]
    # one after the other: in float64 all of them would take four times the memory of the embeddings
    sums = [(row * weight).sum(0) for row, weight in zip(tokens, weights, strict=True)]
    return (torch.stack(sums) / weights.sum(1).clamp_min(1)).cpu()


def spec_for(backbone: Backbone, spec: str | Spec) -> Spec:
    """Return a spec as it acts on a backbone: with a prefix, the blocks of a level share a plan."""
    parsed = parse(spec)
    return parsed.by_level() if backbone.has_prefix else parsed


def described(backbone: Backbone) -> str:
    """Return a backbone's representation: its name, its size and where it computes."""
    size = "×".join(map(str, backbone.latent_shape))
    return f"<{type(backbone).__name__} {backbone.name!r}, {size}, on {machine_of(backbone)}>"


def machine_of(backbone: Backbone) -> str:
    """Return where a backbone computes, as a phrase."""
    return f"{backbone.device} in {str(backbone.dtype).removeprefix('torch.')}"


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


def repeat(nest: Any, count: int) -> Any:
    """Return every row of every tensor in a nest so many times in a row."""
    if isinstance(nest, Tensor):
        return nest.unsqueeze(1).expand(-1, count, *nest.shape[1:]).flatten(0, 1)
    if isinstance(nest, dict):
        return {key: repeat(value, count) for key, value in nest.items()}
    return type(nest)(repeat(value, count) for value in nest)
