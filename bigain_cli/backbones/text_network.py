"""Networks with large text encoders: prompts are embedded first, then the encoders leave, then the network is loaded.

So the most memory is that of the larger, not of both. In: the parts of a diffusers folder; out: the backbone contract,
but for what a family adds: its facts, its text encoders, and how its network is called. Must not know families.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.diffusers_folder import DiffusersFolder, quiet
from bigain_cli.backbones.distillation import distilled_by
from bigain_cli.backbones.folder_checks import whole_number
from bigain_cli.backbones.latents import ImageCodec
from bigain_cli.backbones.load_errors import run_errors
from bigain_cli.backbones.network_backbone import NetworkBackbone, latent_shape_of
from bigain_cli.backbones.network_facts import NetworkFacts
from bigain_cli.backbones.noise_schedule import NoiseSchedule, noise_schedule
from bigain_cli.backbones.rectified_flow import RectifiedFlow, rectified_flow
from bigain_cli.backbones.text_encoders import PromptEmbedder, Tensors, TextEncoder
from bigain_cli.errors import ModelError
from bigain_cli.registry import attribute

SAMPLERS = {  # of `generate`, by the class of the scheduler that a model is published with
    "FlowMatchEulerDiscreteScheduler": "flow",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler-a",
    "DPMSolverMultistepScheduler": "dpm++",
    "HeunDiscreteScheduler": "heun",
    "UniPCMultistepScheduler": "unipc",
    "DDIMScheduler": "ddim",
    "DDPMScheduler": "ddpm",
}
DISTILLED_STEPS = 4
NO_GUIDANCE = 1.0


class TextNetwork(NetworkBackbone, ABC):
    """A text-conditioned network whose conditions are made of the tensors of several text encoders."""

    family: ClassVar[str]
    facts: NetworkFacts
    guidance: ClassVar[float]  # of the family's authors
    part: ClassVar[str] = "transformer"
    kind: ClassVar[str]  # the network's class, as module:attribute
    any_size = True
    vocabulary = None
    class_names: tuple[str, ...] = ()
    has_prefix = False

    def __init__(self, parts: DiffusersFolder, encoders: Sequence[TextEncoder], size: Any, patch: int = 1) -> None:
        """Take the parts, the text encoders, and the latent's size and patches that the network's authors name."""
        parts.check(self.part, *(encoder.part for encoder in encoders))
        self.config = parts.config(self.part)
        channels = whole_number(f"{parts.name}/{self.part}/config.json", self.config, "in_channels")
        _refuse_more_inputs(parts.name, channels, self.config.get("out_channels"))
        channels //= self.facts.packing**2
        codec = ImageCodec.load(parts, channels)
        self.facts = dataclasses.replace(self.facts, latents=codec.latents)
        process = _process(parts, self.facts)
        shape = latent_shape_of(parts.name, channels, size)
        super().__init__(parts, self._load, codec, process, self.guidance, shape)
        self._parts, self._dtype = parts, parts.dtype
        self.embedder = PromptEmbedder(parts, encoders)
        self.size_step = self.scale * self.facts.packing * patch
        if isinstance(process, RectifiedFlow):  # at t = 0 there is no noise to predict
            low, high = self.timestep_range
            self.timestep_range = max(low, 1), max(high, 2)
        self.distilled = distilled_by(parts, self.config)
        self._choose_sampling()

    @property
    def device(self) -> torch.device:
        """Return the device that the network is on, or will be."""
        return self._parts.device

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype that the network computes in, or will."""
        return self._dtype

    def condition(self, prompts: Sequence[str]) -> Conditions:
        """Return the prompts' embeddings."""
        found = self.embedder.embed(prompts)
        rows = [self._combine(prompt, tensors) for prompt, tensors in zip(prompts, found, strict=True)]
        stacked = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        return Conditions(stacked.pop("tokens"), stacked)

    def noise(self, noisy: Tensor, t: Tensor, conditions: Conditions, shared: None = None) -> Tensor:
        """Return ε̂."""  # [b c h w]
        return self.process.to_noise(self._output(noisy, t, conditions), noisy, t)

    def velocity(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Return v̂."""  # [b c h w]
        assert isinstance(self.process, RectifiedFlow)
        return self.process.to_velocity(self._output(noisy, t, conditions), noisy, t)

    def compute_prefix(self, noisy: Tensor, t: Tensor) -> None:
        """Return nothing: the prompt enters at once."""
        return

    def to(self, dtype: torch.dtype) -> None:
        """Compute in another dtype from now on; the VAE keeps float32."""
        self._dtype = dtype
        self.embedder.to(dtype)
        if "network" in vars(self):
            with quiet():
                self.network.to(dtype)

    @abstractmethod
    def _combine(self, prompt: str, found: Mapping[str, Tensors]) -> dict[str, Tensor]:
        """Return one prompt's `tokens`, and what else the network wants, from the tensors of each encoder."""

    @abstractmethod
    def _forward(self, latents: Tensor, time: Tensor, conditions: Conditions, grid: tuple[int, int]) -> Tensor:
        """Call the network on packed latents; `grid` is their height and width before."""

    def _output(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Return the network's output in the shape of the latents."""
        height, width = noisy.shape[2:]
        with run_errors(self.name):
            time, latents = self.facts.time(t, self.timesteps), self.facts.pack(noisy).to(self.dtype)
            output = self._forward(latents, time, conditions, (height, width))
            return self.facts.unpack(output, noisy.shape)

    def _load(self) -> Any:
        """Load the network, once no text encoder is in memory."""
        self.embedder.make_room()
        return self._parts.network(self.part, attribute(self.kind), self._dtype)

    def _choose_sampling(self) -> None:
        """Fill in the sampler that the model is published with; a distilled model takes few steps without guidance."""
        sampler = SAMPLERS.get(str(self.schedule.get("_class_name")))
        default = self._parts.card.sampling
        guidance, steps = self.guidance, None
        if self.distilled and not self.guidance_input:
            guidance, steps = NO_GUIDANCE, DISTILLED_STEPS
        self.sampling = dataclasses.replace(
            default.with_guidance(guidance), sampler=default.sampler or sampler, steps=default.steps or steps
        )


def _process(parts: DiffusersFolder, facts: NetworkFacts) -> NoiseSchedule | RectifiedFlow:
    """Return the forward process that the network was trained with."""
    config = parts.config("scheduler")
    return rectified_flow(config) if facts.prediction == "flow" else noise_schedule(config, parts.device)


def _refuse_more_inputs(name: str, channels: int, out: Any) -> None:
    """Refuse a network that takes more than a latent, such as an image to change; a variance may be returned, too."""
    if out not in (None, channels, 2 * channels):
        why = f"its network takes {channels} channels and returns {out} (an inpainting or control model?)"
        raise ModelError(name, why, "Use the text-to-image model of the same family.")
