"""`compare`: generated images, real ones and a feature in; Fréchet and kernel distance, precision and recall out.

Every number carries the feature's name. Must not know how images were drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.evaluation.image_features import Feature
from bigain_cli.intervals import Array, Estimate, Interval, resamples, spread, wilson
from bigain_cli.registry import MEASURES, attribute, entry

NEIGHBOURS = 3
PROBES_AT_ONCE = 256


def precision(generated: Array, real: Array, weights: Array) -> tuple[Interval, Array]:
    """Return the share of generated images in the real manifold; the interval takes the manifold as given."""
    return _share(inside(generated, real), weights)


def recall(generated: Array, real: Array, weights: Array) -> tuple[Interval, Array]:
    """Return the share of real images in the generated manifold; resampled are the real ones, at fixed manifold."""
    # A resample of generated images has copies in it, whose balls would be points.
    return _share(inside(real, generated), resamples(len(real), len(weights), seed=len(generated)))


def inside(points: Array, others: Array, neighbours: int = NEIGHBOURS) -> NDArray[np.bool_]:
    """Tell which points lie in the manifold of the others."""  # [n]
    if len(others) <= neighbours:
        why = f"{len(others)} images have no {neighbours} neighbours each"
        raise UsageError("precision and recall", why, f"Give more than {neighbours}, better thousands.")
    cloud = torch.from_numpy(np.ascontiguousarray(others))
    # The nearest of all is the point itself.
    radii = torch.cat([_distances(rows, cloud).kthvalue(neighbours + 1).values for rows in cloud.split(PROBES_AT_ONCE)])
    probes = torch.from_numpy(np.ascontiguousarray(points)).split(PROBES_AT_ONCE)
    found: NDArray[np.bool_] = torch.cat([(_distances(rows, cloud) <= radii).any(1) for rows in probes]).numpy()
    return found


def _distances(rows: Tensor, others: Tensor) -> Tensor:
    """Return distances from differences, not from products: those of equal points are exactly 0."""  # [r n]
    return torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist")


def _share(members: NDArray[np.bool_], weights: Array) -> tuple[Interval, Array]:
    marks = members.astype(np.float64)
    return wilson(float(marks.mean()), len(marks)), weights @ marks / len(marks)


ROWS_AT_ONCE = 512


def frechet(generated: Array, real: Array, weights: Array) -> tuple[Interval, Array]:
    """Return |μ − μ'|² + tr(Σ + Σ' − 2 (Σ Σ')^½), of the set and of its resamples.

    Too high at small n, by roughly c / n, where c grows with d: compare at equal n only.
    """
    width = real.shape[1]
    for name, features in (("generated", generated), ("real", real)):
        if len(features) <= width:
            why = f"{len(features)} {name} images for {width} features: their covariance is singular"
            hint = f"Give more than {width} images, better ten times as many, or use the kernel distance."
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
        raise UsageError("kernel distance", "fewer than two images", "Give more.")
    whole = np.concatenate([np.ones((1, len(generated))), weights])  # [1 + resamples, n]
    same = _pairs(generated, whole)
    other = _pairs(real, np.ones((1, len(real))))
    between = np.concatenate([_kernel(part, real).mean(1) for part in _parts(generated)])  # [n]
    values = same + other - 2 * whole @ between / whole.sum(1)
    return spread(float(values[0]), values[1:]), values[1:]


def _pairs(features: Array, weights: Array) -> Array:
    """Return the kernel's mean over all pairs of different images; copies of one are no pair."""  # [rows]
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


RESAMPLES = 200


@dataclass(frozen=True)
class Quality:
    """What was measured, by name."""

    estimates: Mapping[str, Estimate]

    def __getitem__(self, measure: str) -> Estimate:
        return self.estimates[measure]

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return {name: estimate.to_dict() for name, estimate in self.estimates.items()}


def compare(
    generated: Iterable[Image],
    real: Iterable[Image],
    feature: Feature,
    *,
    measures: Sequence[str] = tuple(MEASURES),
    seed: int = 0,
) -> Quality:
    """Measure how near generated images are to real ones, in the eyes of one feature."""
    return compare_features(feature(generated), feature(real), feature.name, measures=measures, seed=seed)


def compare_features(
    generated: NDArray[Any],
    real: NDArray[Any],
    feature: str,
    *,
    measures: Sequence[str] = tuple(MEASURES),
    seed: int = 0,
) -> Quality:
    """Do the same with features that are there already."""  # [n d], [m d]
    targets = [entry("measure", measure, MEASURES).target for measure in measures]
    one, other = checked(generated, "generated"), checked(real, "real")
    if one.shape[1] != other.shape[1]:
        why = f"{one.shape[1]} features of generated images, {other.shape[1]} of real ones"
        raise UsageError(f"feature {feature}", why, "Make both with the same feature.")
    weights = resamples(len(one), RESAMPLES, seed)
    estimates = {}
    for measure, target in zip(measures, targets, strict=True):
        interval, replicates = attribute(target)(one, other, weights)
        estimates[measure] = Estimate(measure, interval, feature, len(one), len(other), replicates)
    return Quality(estimates)


def checked(features: NDArray[Any], side: str) -> Array:
    """Return features to compute with; refuse what is none."""
    if not len(features):
        raise UsageError(f"{side} images", "there are none", "Give some.")
    if not np.isfinite(features).all():
        why = "not all of them are numbers (NaN or infinity)"
        raise BigainError(f"features of {side} images", why, "Load the model with --dtype float32.")
    return features.astype(np.float64)
