"""A profile at work on a table of losses: weights of draws by their time, and a bias of each label.

Every weight is the same for all labels of a draw, so gaps stay means of paired differences. Must not know networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification.profiles import DEGREE, Profile

Array = NDArray[np.float64]
STEPS = 1001  # at which weights are checked not to be negative


def tuned_losses(losses: Array, times: Array, labels: Sequence[str], profile: Profile) -> Array:
    """Return losses as a profile has them."""  # [draws labels], [draws]
    bias = np.array([profile.bias.get(label, 0.0) for label in labels])
    return losses * weights_at(times, profile.time_weights)[..., None] + bias


def weights_at(times: Array, coefficients: Sequence[float]) -> Array:
    """Return the weights of draws; their mean over all times is 1."""
    return 1 + polynomials(times)[..., : len(coefficients)] @ np.asarray(coefficients, dtype=np.float64)


def polynomials(times: Array) -> Array:
    """Return Legendre's polynomials of degree 1 to 3 on 0 … 1, whose means over it are 0."""  # [… 3]
    x = 2 * times - 1
    return np.stack([x, (3 * x**2 - 1) / 2, (5 * x**3 - 3 * x) / 2], axis=-1)[..., :DEGREE]


def never_negative(coefficients: Array) -> Array:
    """Return coefficients, all made smaller by one factor if a weight would be negative."""
    if not len(coefficients):
        return coefficients
    least = float(weights_at(np.linspace(0, 1, STEPS), list(coefficients)).min())
    return coefficients / (1 - least) if least < 0 else coefficients
