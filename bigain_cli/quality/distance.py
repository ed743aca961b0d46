"""How far two clouds of features are apart: the Fréchet distance of their Gaussians, and an unbiased kernel distance.

In: features [n d] of generated and of real pictures, and resamples of the generated ones; out: a number for the whole
set and one for each resample. Must not know where features come from.
"""

from __future__ import annotations

import numpy as np

from bigain_cli.errors import UsageError
from bigain_cli.intervals import Array, Interval, spread

ROWS_AT_ONCE = 512


def frechet(generated: Array, real: Array, weights: Array) -> tuple[Interval, Array]:
    """Return |μ − μ'|² + tr(Σ + Σ' − 2 (Σ Σ')^½), of the set and of its resamples.

    Too high at small n, by roughly c / n, where c grows with d: compare at equal n only.
    """
    width = real.shape[1]
    for name, features in (("generated", generated), ("real", real)):
        if len(features) <= width:
            why = f"{len(features)} {name} pictures for {width} features: their covariance is singular"
            hint = f"Give more than {width} pictures, better ten times as many, or use the kernel distance."
            raise UsageError("Fréchet distance", why, hint)
    middle = real.mean(0)
    mean, spread_of_real = moments(real - middle, np.ones(len(real)))
    root = square_root(spread_of_real)
    cloud = generated - middle
    value = gaussian(*moments(cloud, np.ones(len(cloud))), mean, spread_of_real, root)
    repeated = np.array([gaussian(*moments(cloud, row), mean, spread_of_real, root) for row in weights])
    return spread(value, repeated, least=0.0), repeated


def gaussian(mean: Array, covariance: Array, other: Array, its: Array, root: Array) -> float:
    """Return the squared Fréchet distance of two Gaussians; `root` is that of `its` covariance."""
    # (Σ Σ')^½ has the trace of (Σ'^½ Σ Σ'^½)^½, which is symmetric.
    inner = np.linalg.eigvalsh(root @ covariance @ root)
    cross = np.sqrt(inner.clip(min=0)).sum()
    distance = np.square(mean - other).sum() + np.trace(covariance) + np.trace(its) - 2 * cross
    return max(0.0, float(distance))


def moments(features: Array, weights: Array) -> tuple[Array, Array]:
    """Return mean and unbiased covariance of a set in which feature i occurs as often as its weight says."""
    count = weights.sum()
    mean = weights @ features / count
    rest = (features - mean) * np.sqrt(weights)[:, None]
    return mean, rest.T @ rest / (count - 1)  # [d], [d d]


def square_root(matrix: Array) -> Array:
    """Return the symmetric root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    rooted: Array = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return rooted


def kernel(generated: Array, real: Array, weights: Array) -> tuple[Interval, Array]:
    """Return the unbiased squared MMD for k(x, y) = (x·y / d + 1)³ (Bińkowski et al. 2018); it may be negative."""
    if min(len(generated), len(real)) < 2:
        raise UsageError("kernel distance", "fewer than two pictures", "Give more.")
    whole = np.concatenate([np.ones((1, len(generated))), weights])  # [1 + resamples, n]
    same = _pairs(generated, whole)
    other = _pairs(real, np.ones((1, len(real))))
    between = np.concatenate([_kernel(part, real).mean(1) for part in _parts(generated)])  # [n]
    values = same + other - 2 * whole @ between / whole.sum(1)
    return spread(float(values[0]), values[1:]), values[1:]


def _pairs(features: Array, weights: Array) -> Array:
    """Return the kernel's mean over all pairs of different pictures; copies of one are no pair."""  # [rows]
    total, start = np.zeros(len(weights)), 0
    for part in _parts(features):
        rows = weights[:, start : start + len(part)]
        products = _kernel(part, features)  # [p n]
        products[np.arange(len(part)), np.arange(start, start + len(part))] = 0
        total += (rows @ products * weights).sum(1)
        start += len(part)
    mean: Array = total / (weights.sum(1) ** 2 - np.square(weights).sum(1))
    return mean


def _kernel(one: Array, other: Array) -> Array:
    products: Array = (one @ other.T / one.shape[1] + 1) ** 3
    return products


def _parts(features: Array) -> list[Array]:
    return [features[start : start + ROWS_AT_ONCE] for start in range(0, len(features), ROWS_AT_ONCE)]
