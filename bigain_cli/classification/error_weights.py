"""What errors are of: the noise, the image that follows from a predicted noise, or the velocity, as published tools do.

In x_t = a x + s ε one error decides all: x̂ − x is −s / a, and v̂ − v is 1 / a times ε̂ − ε, where v is a ε − s x on a
path of constant variance, and ε − x in rectified flow. Must not know scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bigain_cli.backbones.base import Backbone
from bigain_cli.errors import UsageError
from bigain_cli.registry import DEFAULT_ERROR, ERRORS, attribute


def of_noise(a: Tensor, s: Tensor) -> Tensor:
    """Return the weight of an error of the noise."""
    return torch.ones_like(a)


def of_image(a: Tensor, s: Tensor) -> Tensor:
    """Return the weight of an error of the image."""
    return s / a


def of_velocity(a: Tensor, s: Tensor) -> Tensor:
    """Return the weight of an error of the velocity."""
    return 1 / a


def error_weights(backbone: Backbone, t: Tensor, error_in: str) -> Tensor | None:
    """Return what to multiply ε̂ − ε with at each time; None is a weight of one."""  # [b 1 1 1]
    if error_in == DEFAULT_ERROR:
        return None
    unit = torch.ones(len(t), 1, 1, 1, device=t.device)
    a, s = backbone.mix(unit, 0 * unit, t), backbone.mix(0 * unit, unit, t)
    weights: Tensor = attribute(ERRORS[error_in].target)(a, s)
    return weights


def check_weights(backbone: Backbone, last: int, error_in: str) -> None:
    """Refuse errors without measure: at the last time some of the image must be left."""
    weights = error_weights(backbone, torch.tensor([last], device=backbone.device), error_in)
    if weights is not None and not bool(weights.isfinite().all()):
        why = f"at the last time of {backbone.name} nothing is left of the image"
        raise UsageError(f"--error-in {error_in}", why, "Add --times 0:0.99.")
