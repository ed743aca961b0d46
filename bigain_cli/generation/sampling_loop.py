"""From noise to a clean latent: the steps of a diffusers scheduler, with the backbone's ε.

In: a backbone's schedule, one random generator per image; out: latents after every step. Must not know images.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigain_cli.backbones.base import Backbone, Conditions
from bigain_cli.backbones.devices import repeatable
from bigain_cli.backbones.diffusers_folder import quiet
from bigain_cli.backbones.load_errors import load_errors, run_errors
from bigain_cli.compress import Compression
from bigain_cli.errors import UsageError
from bigain_cli.generation.samplers import SAMPLERS
from bigain_cli.noise_draws import key
from bigain_cli.registry import attribute


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: predicts the noise of a batch, each row with its own prompt and operator seed.

    Of a model of rectified flow it predicts the velocity.
    """

    backbone: Backbone
    compression: Compression | None
    guidance: float
    conditional: Conditions
    unconditional: Conditions
    seeds: Sequence[int]

    def __call__(self, noisy: Tensor, t: Tensor, number: int) -> Tensor:
        """Return ε̂ of the batch at the step of the given number."""  # [b c h w], [b]
        seeds = torch.tensor([key(seed, b"", "operator", number) for seed in self.seeds], device=noisy.device)
        with repeatable(self.backbone):
            if self.guidance in (0, 1):
                with self.compression.seeds(seeds, torch.zeros_like(seeds)) if self.compression else nullcontext():
                    return self._predict(noisy, t, self.conditional if self.guidance else self.unconditional)
            if self.compression is None or not self.compression.shared_plans:
                conditional, unconditional = self._in_one_batch(noisy, t, seeds)
            else:
                conditional, unconditional = self._in_two_batches(self.compression, noisy, t, seeds)
        return unconditional + self.guidance * (conditional - unconditional)

    def _predict(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        if self.backbone.flow:
            return self.backbone.velocity(noisy, t, conditions)
        return self.backbone.noise(noisy, t, conditions)

    def _in_one_batch(self, noisy: Tensor, t: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        both = Conditions.join([self.conditional, self.unconditional])
        halves = torch.arange(2, device=seeds.device).repeat_interleave(len(seeds))
        with self.compression.seeds(seeds.repeat(2), halves) if self.compression else nullcontext():
            conditional, unconditional = self._predict(torch.cat([noisy, noisy]), t.repeat(2), both).chunk(2)
        return conditional, unconditional

    def _in_two_batches(
        self, compression: Compression, noisy: Tensor, t: Tensor, seeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Merge the same tokens in both batches: guidance multiplies their difference, so merging must not add any."""
        with compression.seeds(seeds, torch.zeros_like(seeds)):
            with compression.record() as plans:
                unconditional = self._predict(noisy, t, self.unconditional)
            with compression.replay(plans, torch.arange(len(noisy), device=noisy.device)):
                conditional = self._predict(noisy, t, self.conditional)
        return conditional, unconditional


Predict = Callable[[Tensor, Tensor, int], Tensor]  # from x_t, t and the number of the step to ε̂


def make_scheduler(backbone: Backbone, name: str, steps: int) -> Any:
    """Make a sampler's scheduler on the backbone's noise schedule; it gets ε̂, whatever the network predicts."""
    sampler = SAMPLERS[name]
    if steps > backbone.timesteps:
        raise UsageError(f"--steps {steps}", f"this model's schedule has {backbone.timesteps}", "Use fewer steps.")
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # between diffusers and numpy
        kind = attribute(sampler.scheduler)
        # Not `from_config`, which imports every scheduler there is: seconds, with SciPy.
        config = {**backbone.schedule, **sampler.options, "prediction_type": "epsilon"}
        if steps == backbone.timesteps:
            config["timestep_spacing"] = "trailing"  # the only way to take every step; others take some twice
        accepted = inspect.signature(kind.__init__).parameters
        with load_errors(f"{backbone.name}/scheduler"):
            scheduler = kind(**{key: value for key, value in config.items() if key in accepted})
            scheduler.set_timesteps(steps)  # on the CPU: reading a time must not wait for the device
    if scheduler.timesteps.max() > backbone.timesteps - 1:
        why = "with its offset this model's schedule ends before the first of them"
        raise UsageError(f"--steps {steps}", why, f"Use at most {backbone.timesteps // 2}, or choose another sampler.")
    if sampler.multistep:
        _skip_repeated_levels(scheduler)
    return scheduler


def make_flow_scheduler(backbone: Backbone, name: str, steps: int, shape: tuple[int, int, int]) -> Any:
    """Make the scheduler of a model of rectified flow, with its shift; it gets the velocity."""
    kind, config = attribute(SAMPLERS[name].scheduler), backbone.schedule
    accepted = inspect.signature(kind.__init__).parameters
    times: dict[str, Any] = {}
    if backbone.even_steps:
        times["sigmas"] = np.linspace(1.0, 1 / steps, steps)
    with quiet(), load_errors(f"{backbone.name}/scheduler"):
        scheduler = kind(**{key: value for key, value in config.items() if key in accepted})
        if scheduler.config.use_dynamic_shifting:
            times["mu"] = _shift(scheduler.config, shape[1] * shape[2] * backbone.scale**2 // backbone.size_step**2)
        scheduler.set_timesteps(steps, **times)
    return scheduler


def _shift(config: Any, tokens: int) -> float:
    """Return the logarithm of a flow's shift for so many tokens: a straight line between two sizes."""
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    return float(config.base_shift + slope * (tokens - config.base_image_seq_len))


def _skip_repeated_levels(scheduler: Any) -> None:
    """Skip steps from a noise level to the same level: these samplers divide by the length of a step."""
    falls = scheduler.sigmas[1:] < scheduler.sigmas[:-1]
    scheduler.timesteps = scheduler.timesteps[falls]
    scheduler.sigmas = torch.cat([scheduler.sigmas[:-1][falls], scheduler.sigmas[-1:]])
    scheduler.num_inference_steps = len(scheduler.timesteps)


class SamplingLoop:
    """Takes a batch from noise to clean latents; each image has its own random generator, on the CPU."""

    def __init__(self, backbone: Backbone, sampler: str, steps: int, shape: tuple[int, int, int]) -> None:
        """Take the latents' shape: a flow's times may depend on it."""
        self._backbone, self._sampler, self._shape = backbone, SAMPLERS[sampler], shape
        if SAMPLERS[sampler].flow:
            self._scheduler = make_flow_scheduler(backbone, sampler, steps, shape)
            self._range = None
            return
        self._scheduler = make_scheduler(backbone, sampler, steps)
        scheduler_clips = "clip_sample" in self._scheduler.config
        clips = backbone.schedule.get("clip_sample", False) and not scheduler_clips
        with load_errors(f"{backbone.name}/scheduler"):
            self._range = float(backbone.schedule.get("clip_sample_range", 1.0)) if clips else None

    def __len__(self) -> int:
        return len(self._scheduler.timesteps)

    def run(self, seeds: Sequence[int], predict: Predict) -> Iterator[Tensor]:
        """Yield the latents after each evaluation; the last ones are clean."""  # [b c h w]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.cat([torch.randn((1, *self._shape), generator=generator) for generator in generators])
        latents = noise.to(self._backbone.device)
        if not self._sampler.flow:
            latents = latents * self._scheduler.init_noise_sigma
        extra = {"generator": generators} if self._sampler.random else {}
        for number, time in enumerate(self._scheduler.timesteps):
            latents = self._step(latents, time, number, predict, extra)
            yield latents

    @torch.inference_mode()
    def _step(self, latents: Tensor, time: Tensor, number: int, predict: Predict, extra: dict[str, Any]) -> Tensor:
        with run_errors(f"{self._backbone.name}/scheduler"):
            noisy = latents if self._sampler.flow else self._scheduler.scale_model_input(latents, time)
        t = torch.full((len(latents),), time.item(), device=latents.device)
        noise = predict(noisy, t, number)
        if self._range is not None:
            noise = self._clip(noise, noisy, t, self._range)
        with run_errors(f"{self._backbone.name}/scheduler"):
            result: Tensor = self._scheduler.step(noise, time, latents, **extra, return_dict=False)[0]
        return result

    def _clip(self, noise: Tensor, noisy: Tensor, t: Tensor, limit: float) -> Tensor:
        """Return ε̂ after clipping the clean sample to ±limit, for schedulers that do not clip."""
        unit = torch.ones_like(noisy[:, :1, :1, :1])
        a, s = self._backbone.mix(unit, 0 * unit, t), self._backbone.mix(0 * unit, unit, t)
        clean = ((noisy - s * noise) / a).clamp(-limit, limit)
        return (noisy - a * clean) / s
