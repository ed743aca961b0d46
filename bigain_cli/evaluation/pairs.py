"""How two specs differ on the same images: intervals and tests that use the pairing. Pure numerics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigain_cli.intervals import Interval, Z, wilson

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Difference:
    """One spec minus another on the images that both answered."""

    spec: str
    against: str
    count: int
    gained: int  # right where the other was wrong
    lost: int
    interval: Interval
    p: float  # McNemar's exact test, two-sided
    agreement: Interval  # share of images with the same answer

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return {**vars(self), "interval": self.interval.to_dict(), "agreement": self.agreement.to_dict()}


def difference(spec: str, against: str, mine: Flags, other: Flags, same: Flags) -> Difference:
    """Compare which images two specs got right, and where they gave the same answer."""
    gained, lost = int((mine & ~other).sum()), int((other & ~mine).sum())
    agreement = wilson(float(same.mean()), len(same))
    interval = paired_interval(gained, lost, len(mine))
    return Difference(spec, against, len(mine), gained, lost, interval, mcnemar(gained, lost), agreement)


def paired_interval(gained: int, lost: int, count: int) -> Interval:
    """Return a difference of paired shares with Agresti and Min's interval: half an image more in each cell."""
    total, more, less = count + 2, gained + 0.5, lost + 0.5
    middle = (more - less) / total
    half = Z * math.sqrt(more + less - (more - less) ** 2 / total) / total
    value = (gained - lost) / count
    return Interval(value, max(-1.0, min(value, middle - half)), min(1.0, max(value, middle + half)))


def mcnemar(gained: int, lost: int) -> float:
    """Return how likely so uneven a split of the differing images would be if neither spec were better."""
    n, k = gained + lost, min(gained, lost)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    return min(1.0, 2 * tail)
