"""Estimates with their uncertainty: one set of resamples for all numbers, so that differences are paired.

In: a number, and the same number of resampled images; out: a 95 % interval. Must not know features or networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigain_cli.errors import UsageError

Array = NDArray[np.float64]
Z = 1.959964


@dataclass(frozen=True)
class Interval:
    """A number and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """Return the record; what is not known is None."""
        return {name: None if math.isnan(value) else value for name, value in vars(self).items()}

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True)
class Estimate:
    """One measure of generated against real images, and what it was measured on and with."""

    measure: str
    interval: Interval
    feature: str
    generated: int  # images
    real: int
    replicates: Array = field(repr=False, compare=False)  # [resamples]

    def to_dict(self) -> dict[str, Any]:
        """Return the record; the replicates stay behind."""
        told = {"measure": self.measure, "feature": self.feature, "generated": self.generated, "real": self.real}
        return {**told, **self.interval.to_dict()}

    def minus(self, other: Estimate) -> Interval:
        """Return the difference to an estimate from the same seeds, against the same real images."""
        for name in ("measure", "feature", "generated", "real"):
            mine, its = getattr(self, name), getattr(other, name)
            if mine != its:
                raise UsageError("difference of two estimates", f"their {name} is {mine} and {its}", "Measure alike.")
        return spread(self.interval.value - other.interval.value, self.replicates - other.replicates)


def resamples(count: int, times: int, seed: int) -> Array:
    """Return how often each image is in each resample; a function of these numbers alone."""  # [times count]
    generator = np.random.Generator(np.random.PCG64([seed, count]))
    picks = generator.integers(count, size=(times, count))
    return np.stack([np.bincount(row, minlength=count) for row in picks]).astype(np.float64)


def spread(value: float, replicates: Array, least: float = -math.inf, most: float = math.inf) -> Interval:
    """Return the bootstrap's percentiles, moved so that the replicates' mean lies on the estimate.

    A distance between resamples is biased upwards once more than the distance itself; moved back, the interval tells of
    the spread alone, and holds the estimate. What bias the estimate has, it keeps.
    """
    known = replicates[~np.isnan(replicates)]  # a resample may lack what is measured
    if not len(known):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(known, (0.025, 0.975)) - known.mean()
    return Interval(value, max(least, value + min(0.0, float(low))), min(most, value + max(0.0, float(high))))


def wilson(share: float, count: float) -> Interval:
    """Return a share of `count` independent cases, or of what is worth as many, with Wilson's interval."""
    reach = Z * Z / count
    middle = (share + reach / 2) / (1 + reach)
    half = Z * math.sqrt(share * (1 - share) / count + reach / (4 * count)) / (1 + reach)
    return Interval(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))
