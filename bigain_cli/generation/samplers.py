"""The samplers of `generate` by name: diffusers' schedulers. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sampler:
    """A sampler: a scheduler of diffusers, its options, and its default number of steps."""

    scheduler: str
    about: str
    steps: int
    options: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False  # whether its steps add noise
    multistep: bool = False  # whether it divides by differences of noise levels
    flow: bool = False  # whether it is for models of rectified flow, and for no others


SAMPLERS = {
    "ddim": Sampler("diffusers:DDIMScheduler", "deterministic; equals diffusers' pipelines", 50),
    "ddpm": Sampler("diffusers:DDPMScheduler", "adds noise at every step, as in training", 250, random=True),
    "euler": Sampler("diffusers:EulerDiscreteScheduler", "first order on the same path as ddim", 30),
    "euler-a": Sampler(
        "diffusers:EulerAncestralDiscreteScheduler", "first order, adds noise at every step", 30, random=True
    ),
    "heun": Sampler("diffusers:HeunDiscreteScheduler", "second order; two evaluations a step", 25),
    "dpm++": Sampler(
        "diffusers:DPMSolverMultistepScheduler",
        "second order from the steps before; good with few",
        25,
        {"algorithm_type": "dpmsolver++", "solver_order": 2},
        multistep=True,
    ),
    "unipc": Sampler(
        "diffusers:UniPCMultistepScheduler", "predictor and corrector; good with very few", 20, multistep=True
    ),
    "flow": Sampler(
        "diffusers:FlowMatchEulerDiscreteScheduler", "first order, for models of rectified flow", 28, flow=True
    ),
}


DEFAULT_SAMPLER = "ddim"  # of a model that was not measured
FLOW_SAMPLER = "flow"  # of a model of rectified flow
