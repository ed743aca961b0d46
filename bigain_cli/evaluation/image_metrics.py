"""`compare`: generated pictures, real ones and a feature in; Fréchet and kernel distance, precision and recall out.

Every number carries the feature's name. Must not know how pictures were drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.evaluation.image_features import Feature
from bigain_cli.intervals import Array, Estimate, resamples
from bigain_cli.registry import MEASURES, attribute, entry

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
    """Measure how near generated pictures are to real ones, in the eyes of one feature."""
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
    targets = [entry("measure", measure, MEASURES).estimator for measure in measures]
    one, other = checked(generated, "generated"), checked(real, "real")
    if one.shape[1] != other.shape[1]:
        why = f"{one.shape[1]} features of generated pictures, {other.shape[1]} of real ones"
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
        raise UsageError(f"{side} pictures", "there are none", "Give some.")
    if not np.isfinite(features).all():
        why = "not all of them are numbers (NaN or infinity)"
        raise BigainError(f"features of {side} pictures", why, "Load the model with --dtype float32.")
    return features.astype(np.float64)
