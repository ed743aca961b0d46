"""The way from noise to a clean latent: diffusers' scheduler steps, our ε.

In: a backbone's schedule, one random generator per image; out: latents after every step. Must not know images.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bigain_cli.backbones.base import Backbone, Conditions
from bigain_cli.backbones.devices import repeatable
from bigain_cli.backbones.diffusers_folder import quiet
from bigain_cli.compress import Compression
from bigain_cli.errors import UsageError
from bigain_cli.generation.options import check_steps
from bigain_cli.noise_draws import key
from bigain_cli.registry import SAMPLERS, attribute


@dataclass(frozen=True)
class Guidance:
    """Predicts the noise of one batch, each row with its own prompt and its own operator seeds."""

    backbone: Backbone
    compression: Compression | None
    guidance: float
    conditional: Conditions
    unconditional: Conditions
    seeds: Sequence[int]

    def __call__(self, noisy: Tensor, t: Tensor, number: int) -> Tensor:
        """Return ε̂ of the batch at its step of the given number."""  # [b c h w], [b]
        seeds = torch.tensor([key(seed, b"", "operator", number) for seed in self.seeds], device=noisy.device)
        with repeatable(self.backbone):
            if self.guidance in (0, 1):
                with self.compression.seeds(seeds, torch.zeros_like(seeds)) if self.compression else nullcontext():
                    return self.backbone.noise(noisy, t, self.conditional if self.guidance else self.unconditional)
            if self.compression is None or not self.compression.shared_plans:
                conditional, unconditional = self._at_once(noisy, t, seeds)
            else:
                conditional, unconditional = self._in_turn(self.compression, noisy, t, seeds)
        return unconditional + self.guidance * (conditional - unconditional)

    def _at_once(self, noisy: Tensor, t: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        both = Conditions(torch.cat([self.conditional.rows, self.unconditional.rows]))
        halves = torch.arange(2, device=seeds.device).repeat_interleave(len(seeds))
        with self.compression.seeds(seeds.repeat(2), halves) if self.compression else nullcontext():
            conditional, unconditional = self.backbone.noise(torch.cat([noisy, noisy]), t.repeat(2), both).chunk(2)
        return conditional, unconditional

    def _in_turn(self, compression: Compression, noisy: Tensor, t: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Merge the same tokens in both halves: their difference is multiplied, so it must not come from the plan."""
        with compression.seeds(seeds, torch.zeros_like(seeds)):
            with compression.record() as plans:
                unconditional = self.backbone.noise(noisy, t, self.unconditional)
            with compression.replay(plans, torch.arange(len(noisy), device=noisy.device)):
                conditional = self.backbone.noise(noisy, t, self.conditional)
        return conditional, unconditional


Predict = Callable[[Tensor, Tensor, int], Tensor]  # x_t, t and the step's number to ε̂


def make_scheduler(backbone: Backbone, name: str, steps: int) -> Any:
    """Make a sampler's scheduler on the backbone's own schedule; whatever the network predicts, we hand in ε̂."""
    chosen = SAMPLERS[name]
    check_steps(backbone, steps)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # between diffusers and numpy
        kind = attribute(chosen.scheduler)
        # Not `from_config`, which imports every scheduler there is: seconds, with SciPy.
        config = {**backbone.schedule, **chosen.options, "prediction_type": "epsilon"}
        if steps == backbone.timesteps:
            config["timestep_spacing"] = "trailing"  # the one way to take every step; others take some twice
        known = inspect.signature(kind.__init__).parameters
        scheduler = kind(**{key: value for key, value in config.items() if key in known})
        scheduler.set_timesteps(steps)  # on the CPU: reading a time must not wait for the device
    if scheduler.timesteps.max() > backbone.timesteps - 1:
        why = "with its offset this model's schedule ends before the first of them"
        raise UsageError(f"--steps {steps}", why, f"Take at most {backbone.timesteps // 2}, or choose another sampler.")
    if chosen.multistep:
        _leave_out_repeats(scheduler)
    return scheduler


def _leave_out_repeats(scheduler: Any) -> None:
    """Leave out steps from a noise level to itself: they go nowhere, and these samplers divide by their length."""
    falls = scheduler.sigmas[1:] < scheduler.sigmas[:-1]
    scheduler.timesteps = scheduler.timesteps[falls]
    scheduler.sigmas = torch.cat([scheduler.sigmas[:-1][falls], scheduler.sigmas[-1:]])
    scheduler.num_inference_steps = len(scheduler.timesteps)


class SamplingLoop:
    """A batch on its way from noise to images; each image has its own random generator, on the CPU."""

    def __init__(self, backbone: Backbone, sampler: str, steps: int) -> None:
        self._backbone, self._random = backbone, SAMPLERS[sampler].random
        self._scheduler = make_scheduler(backbone, sampler, steps)
        own = "clip_sample" in self._scheduler.config  # this one keeps clean pixels in their range by itself
        clips = backbone.schedule.get("clip_sample", False) and not own
        self._range = float(backbone.schedule.get("clip_sample_range", 1.0)) if clips else None

    def __len__(self) -> int:
        return len(self._scheduler.timesteps)

    def run(self, shape: tuple[int, int, int], seeds: Sequence[int], predict: Predict) -> Iterator[Tensor]:
        """Yield the latents after each evaluation; the last ones are clean."""  # [b c h w]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.cat([torch.randn((1, *shape), generator=generator) for generator in generators])
        latents = noise.to(self._backbone.device) * self._scheduler.init_noise_sigma
        extra = {"generator": generators} if self._random else {}
        for number, time in enumerate(self._scheduler.timesteps):
            latents = self._step(latents, time, number, predict, extra)
            yield latents

    @torch.inference_mode()
    def _step(self, latents: Tensor, time: Tensor, number: int, predict: Predict, extra: dict[str, Any]) -> Tensor:
        noisy = self._scheduler.scale_model_input(latents, time)
        t = torch.full((len(latents),), time.item(), device=latents.device)
        noise = predict(noisy, t, number)
        if self._range is not None:
            noise = self._clipped(noise, noisy, t, self._range)
        stepped: Tensor = self._scheduler.step(noise, time, latents, **extra, return_dict=False)[0]
        return stepped

    def _clipped(self, noise: Tensor, noisy: Tensor, t: Tensor, reach: float) -> Tensor:
        """Return the ε̂ of a clean sample that stays in range, for schedulers that would let pixels run away."""
        unit = torch.ones_like(noisy[:, :1, :1, :1])
        a, s = self._backbone.mix(unit, 0 * unit, t), self._backbone.mix(0 * unit, unit, t)
        clean = ((noisy - s * noise) / a).clamp(-reach, reach)
        return (noisy - a * clean) / s
