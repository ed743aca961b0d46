"""Precision and recall of generated pictures by nearest neighbours (Kynkäänniemi et al. 2019).

A set's manifold is the union of balls around its features, each as wide as the way to its k-th neighbour. Precision is
the share of generated pictures in the real manifold, recall the share of real ones in the generated manifold.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bigain_cli.errors import UsageError
from bigain_cli.intervals import Array, Interval, resamples, wilson

NEIGHBOURS = 3
PROBES_AT_ONCE = 256


def precision(generated: Array, real: Array, weights: Array) -> tuple[Interval, Array]:
    """Return the share of generated pictures in the real manifold; the interval takes the manifold as given."""
    return _share(inside(generated, real), weights)


def recall(generated: Array, real: Array, weights: Array) -> tuple[Interval, Array]:
    """Return the share of real pictures in the generated manifold; resampled are the real ones, at fixed manifold."""
    # A resample of generated pictures has copies in it, whose balls would be points.
    return _share(inside(real, generated), resamples(len(real), len(weights), seed=len(generated)))


def inside(points: Array, others: Array, neighbours: int = NEIGHBOURS) -> NDArray[np.bool_]:
    """Tell which points lie in the manifold of the others."""  # [n]
    if len(others) <= neighbours:
        why = f"{len(others)} pictures have no {neighbours} neighbours each"
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
