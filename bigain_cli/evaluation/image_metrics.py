"""`compare`: generated images, real ones and a feature in; Fréchet and kernel distance, precision and recall out.

Every number carries the feature's name. Must not know how images were generated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.evaluation.image_features import Feature
from bigain_cli.intervals import Array, Interval, resamples, spread, wilson
from bigain_cli.registry import MEASURES, attribute, entry

ROWS_AT_ONCE = 512
RESAMPLES = 200
NEIGHBOURS = 3


@dataclass(frozen=True)
class Estimate:
    """One measure of generated against real images, with its feature and the numbers of images."""

    measure: str
    interval: Interval
    feature: str
    generated: int  # images
    real: int
    replicates: Array = field(repr=False, compare=False)  # [resamples]

    def to_dict(self) -> dict[str, Any]:
        """Return the record, without the replicates."""
        names = ("measure", "feature", "generated", "real")
        return {**{name: getattr(self, name) for name in names}, **self.interval.to_dict()}

    def minus(self, other: Estimate) -> Interval:
        """Return the difference to an estimate from the same seeds, against the same real images."""
        for name in ("measure", "feature", "generated", "real"):
            first, second = getattr(self, name), getattr(other, name)
            if first != second:
                why = f"their {name} is {first} and {second}"
                raise UsageError("difference of two estimates", why, "Use the same for both.")
        return spread(self.interval.value - other.interval.value, self.replicates - other.replicates)


@dataclass(frozen=True)
class Quality:
    """Estimates by the name of their measure."""

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
    """Measure how near generated images are to real ones, by their features."""
    return compare_features(feature(generated), feature(real), feature.name, measures=measures, seed=seed)


def compare_features(
    generated: NDArray[Any],
    real: NDArray[Any],
    feature: str,
    *,
    measures: Sequence[str] = tuple(MEASURES),
    seed: int = 0,
) -> Quality:
    """Do the same with features that are already computed."""  # [n d], [m d]
    targets = [entry("measure", measure, MEASURES).target for measure in measures]
    one, other = check_features(generated, "generated"), check_features(real, "real")
    if one.shape[1] != other.shape[1]:
        why = f"{one.shape[1]} features of generated images, {other.shape[1]} of real ones"
        raise UsageError(f"feature {feature}", why, "Make both with the same feature.")
    weights = resamples(len(one), RESAMPLES, seed)
    estimates = {}
    for measure, target in zip(measures, targets, strict=True):
        interval, replicates = attribute(target)(one, other, weights)
        estimates[measure] = Estimate(measure, interval, feature, len(one), len(other), replicates)
    return Quality(estimates)


def check_features(features: NDArray[Any], side: str) -> Array:
    """Return features in double precision; refuse an empty set, NaN and infinity."""
    if not len(features):
        raise UsageError(f"{side} images", "there are none", "Give some.")
    if not np.isfinite(features).all():
        why = "not all of them are numbers (NaN or infinity)"
        raise BigainError(f"features of {side} images", why, "Load the model with --dtype float32.")
    return features.astype(np.float64)


def frechet(generated: Array, real: Array, weights: Array) -> tuple[Interval, Array]:
    """Return |μ − μ'|² + tr(Σ + Σ' − 2 (Σ Σ')^½), for the set and its resamples.

    Biased upwards by about c / n, where c grows with d: compare only at equal n.
    """
    width = real.shape[1]
    for name, features in (("generated", generated), ("real", real)):
        if len(features) <= width:
            why = f"{len(features)} {name} images for {width} features: their covariance is singular"
            hint = f"Give more than {width} images, better ten times as many, or use the kernel distance."
            raise UsageError("Fréchet distance", why, hint)
    centre = real.mean(0)
    mean, covariance = moments(real - centre, np.ones(len(real)))
    root = square_root(covariance)
    centred = generated - centre
    value = gaussian(*moments(centred, np.ones(len(centred))), mean, covariance, root)
    replicates = np.array([gaussian(*moments(centred, row), mean, covariance, root) for row in weights])
    return spread(value, replicates, least=0.0), replicates


def gaussian(mean: Array, covariance: Array, other_mean: Array, other_covariance: Array, root: Array) -> float:
    """Return the squared Fréchet distance of two Gaussians; `root` is the square root of the other covariance."""
    # (Σ Σ')^½ has the trace of (Σ'^½ Σ Σ'^½)^½, which is symmetric.
    inner = np.linalg.eigvalsh(root @ covariance @ root)
    cross = np.sqrt(inner.clip(min=0)).sum()
    distance = np.square(mean - other_mean).sum() + np.trace(covariance) + np.trace(other_covariance) - 2 * cross
    return max(0.0, float(distance))


def moments(features: Array, weights: Array) -> tuple[Array, Array]:
    """Return mean and unbiased covariance of a set; a row's weight is how often it occurs."""
    count = weights.sum()
    mean = weights @ features / count
    rest = (features - mean) * np.sqrt(weights)[:, None]
    return mean, rest.T @ rest / (count - 1)  # [d], [d d]


def square_root(matrix: Array) -> Array:
    """Return the symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    rooted: Array = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return rooted


def kernel(generated: Array, real: Array, weights: Array) -> tuple[Interval, Array]:
    """Return the unbiased squared MMD for k(x, y) = (x·y / d + 1)³ (Bińkowski et al. 2018); it may be negative."""
    if min(len(generated), len(real)) < 2:
        raise UsageError("kernel distance", "fewer than two images", "Give more.")
    whole = np.concatenate([np.ones((1, len(generated))), weights])  # [1 + resamples, n]
    same = _mean_over_pairs(generated, whole)
    other = _mean_over_pairs(real, np.ones((1, len(real))))
    between = np.concatenate([_kernel(part, real).mean(1) for part in _row_blocks(generated)])  # [n]
    values = same + other - 2 * whole @ between / whole.sum(1)
    return spread(float(values[0]), values[1:]), values[1:]


def _mean_over_pairs(features: Array, weights: Array) -> Array:
    """Return the kernel's mean over all pairs of different images; copies of one image are no pair."""  # [rows]
    total, start = np.zeros(len(weights)), 0
    for part in _row_blocks(features):
        rows = weights[:, start : start + len(part)]
        products = _kernel(part, features)  # [p n]
        products[np.arange(len(part)), np.arange(start, start + len(part))] = 0
        total += (rows @ products * weights).sum(1)
        start += len(part)
    pairs = weights.sum(1) ** 2 - np.square(weights).sum(1)  # none where a resample is one image again and again
    mean: Array = np.divide(total, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
    return mean


def _kernel(one: Array, other: Array) -> Array:
    products: Array = (one @ other.T / one.shape[1] + 1) ** 3
    return products


def _row_blocks(features: Array) -> list[Array]:
    return [features[start : start + ROWS_AT_ONCE] for start in range(0, len(features), ROWS_AT_ONCE)]


def precision(generated: Array, real: Array, weights: Array) -> tuple[Interval, Array]:
    """Return the share of generated images in the real images' manifold; the interval regards that as fixed."""
    return _share(in_manifold(generated, real), weights)


def recall(generated: Array, real: Array, weights: Array) -> tuple[Interval, Array]:
    """Return the share of real images in the generated images' manifold; the real ones are resampled."""
    # A resample of generated images contains copies, whose neighbourhoods would be points.
    return _share(in_manifold(real, generated), resamples(len(real), len(weights), seed=len(generated)))


def in_manifold(points: Array, others: Array) -> NDArray[np.bool_]:
    """Return which points lie in the manifold of the others: nearer to one of them than its third neighbour."""  # [n]
    if len(others) <= NEIGHBOURS:
        why = f"{len(others)} images have no {NEIGHBOURS} neighbours each"
        raise UsageError("precision and recall", why, f"Give more than {NEIGHBOURS}, better thousands.")
    cloud = torch.from_numpy(np.ascontiguousarray(others))
    # A point's nearest neighbour is the point itself.
    radii = torch.cat([_distances(rows, cloud).kthvalue(NEIGHBOURS + 1).values for rows in cloud.split(ROWS_AT_ONCE)])
    probes = torch.from_numpy(np.ascontiguousarray(points)).split(ROWS_AT_ONCE)
    found: NDArray[np.bool_] = torch.cat([(_distances(rows, cloud) <= radii).any(1) for rows in probes]).numpy()
    return found


def _distances(rows: Tensor, others: Tensor) -> Tensor:
    """Return distances by subtraction, not by products, so that equal points have a distance of exactly 0."""  # [r n]
    return torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist")


def _share(members: NDArray[np.bool_], weights: Array) -> tuple[Interval, Array]:
    return wilson(float(members.mean()), len(members)), weights @ members / len(members)
