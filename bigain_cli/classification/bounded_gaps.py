"""Intervals of bounded differences by betting: they hold at any number of draws, however the draws are distributed.

In: differences within ±1; out: half the width of each mean's interval. Pure numerics; must not know networks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STAKES = ((np.arange(32) + 0.5) / 32) ** 2  # shares of the capital to bet on each draw, small ones more densely
STEPS = 30  # of the bisection


def betting_half_widths(differences: Array, alpha: float) -> Array:
    """Return half the width of an interval around each column's mean; either side misses at most α of the time.

    Against "the mean is at most m" one bets on every draw at fixed odds. For independent draws within ±1 whose
    expectations are on average at most m, that of the capital is at most 1 (inequality of arithmetic and geometric
    means), so that it reaches 1/α at most α of the time (Markov): whatever their distributions, and whether these
    are alike. Both sides get the width of the wider one.
    """  # [draws labels]
    values, places = np.unique(differences, return_inverse=True)  # votes take few values
    places = places.reshape(differences.shape)
    counts = np.stack([(places == place).sum(axis=0) for place in range(len(values))])  # [values labels]
    means = differences.mean(axis=0)
    return np.maximum(_depths(values, counts, means, alpha), _depths(-values, counts, -means, alpha))


def _depths(values: Array, counts: NDArray[np.int64], means: Array, alpha: float) -> Array:
    """Return how far below each observed mean the least one lies that is not refuted."""
    low, high = np.full(len(means), -1.0), means
    for _ in range(STEPS):
        middle = (low + high) / 2
        refuted = _log_capital(values, counts, middle) >= -math.log(alpha)
        low, high = np.where(refuted, middle, low), np.where(refuted, high, middle)
    return means - low


def _log_capital(values: Array, counts: NDArray[np.int64], means: Array) -> Array:
    """Return the logarithm of what betting against these means has earned, the capital being spread over all stakes."""
    returns = (values[:, None] + 1) / np.maximum(means + 1, 1e-12) - 1  # [values labels]
    gains = (np.log1p(STAKES[:, None, None] * returns) * counts).sum(axis=1)  # [stakes labels]
    most = gains.max(axis=0)
    return np.asarray(most + np.log(np.exp(gains - most).mean(axis=0)))
