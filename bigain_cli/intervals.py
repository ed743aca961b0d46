"""95 % intervals: of shares, of means, and from bootstrap replicates, which are shared so that differences are paired.

Must not know features or networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Z = 1.959964


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """Return the record; NaN becomes None."""
        return {name: None if math.isnan(value) else value for name, value in vars(self).items()}

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"

    def percent(self, sign: str = "-", unit: str = "") -> str:
        """Write a share in per cent; with the sign "+" a difference in points."""
        if math.isnan(self.value):
            return "–"
        value, low, high = (f"{100 * each:{sign}.1f}" for each in (self.value, self.low, self.high))
        return f"{value}{unit} [{low}, {high}]"


def resamples(count: int, times: int, seed: int) -> Array:
    """Return how often each image is in each resample; it depends on the arguments alone."""  # [times count]
    generator = np.random.Generator(np.random.PCG64([seed, count]))
    picks = generator.integers(count, size=(times, count))
    return np.stack([np.bincount(row, minlength=count) for row in picks]).astype(np.float64)


def spread(value: float, replicates: Array, least: float = -math.inf, most: float = math.inf) -> Interval:
    """Return the bootstrap's percentiles, shifted so that the replicates' mean equals the estimate.

    A distance between resamples is biased upwards once more than the distance itself; shifted back, the interval shows
    the spread alone, and contains the estimate. The estimate's own bias remains.
    """
    known = replicates[~np.isnan(replicates)]  # a resample may lack the cases that are measured
    if not len(known):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(known, (0.025, 0.975)) - known.mean()
    return Interval(value, max(least, value + min(0.0, float(low))), min(most, value + max(0.0, float(high))))


def mean_interval(values: Sequence[float], least: float, most: float) -> Interval:
    """Return the mean of independent values within bounds, with the normal interval; of one value, with the bounds."""
    value = float(np.mean(values))
    half = Z * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Interval(value, max(least, value - half), min(most, value + half))


def wilson(share: float, count: float) -> Interval:
    """Return a share of `count` independent cases (or the effective number of them) with Wilson's interval."""
    reach = Z * Z / count
    middle = (share + reach / 2) / (1 + reach)
    half = Z * math.sqrt(share * (1 - share) / count + reach / (4 * count)) / (1 + reach)
    return Interval(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))
