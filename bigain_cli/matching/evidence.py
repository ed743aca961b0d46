"""From an image's losses to the evidence for its captions, and the gaps between them, each with an interval.

The evidence for a caption is how much it lowers the mean loss of the empty prompt, over the same draws. All images
share their draws, so that evidence can be compared between images, too. Must not know networks or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification.confidence import asymptotic_half_widths
from bigain_cli.classification.ranking import significant
from bigain_cli.intervals import Interval
from bigain_cli.registry import BLOCK

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """How much better each caption is than the empty prompt, draw by draw."""

    by_draw: Array  # [draws captions]
    times: Array  # [draws] from 0 to 1

    @staticmethod
    def of(losses: Array, times: Array) -> Evidence:
        """Take losses whose first column is the empty prompt's."""  # [draws 1+captions]
        return Evidence(losses[:, :1] - losses[:, 1:], times)

    @property
    def means(self) -> Array:
        """The evidence for each caption."""  # [captions]
        return np.asarray(self.by_draw.mean(axis=0))

    def interval(self, caption: int, level: float) -> Interval:
        """Return the evidence for a caption with its interval."""
        return paired_interval(self.by_draw[:, caption], self.times, level)

    def gap(self, caption: int, other: int, level: float) -> Interval:
        """Return how far a caption is ahead of another one, with its interval."""
        return paired_interval(self.by_draw[:, caption] - self.by_draw[:, other], self.times, level)


def paired_interval(differences: Array, times: Array, level: float) -> Interval:
    """Return a mean over draws with its interval; from too few draws it is without bounds.

    Each end has its own width: differences that are skewed reach farther to one side.
    """  # [draws]
    value = float(differences.mean())
    if len(differences) < BLOCK:
        return Interval(value, -math.inf, math.inf)
    both = np.stack([differences, -differences], axis=1)
    below, above = map(float, asymptotic_half_widths(both, times, (1 - level) / 2, rivals=1))
    return Interval(value, value - below, value + above)


def level_of_each(level: float, gaps: int) -> float:
    """Return the level that each of some intervals needs, so that all of them hold together (Bonferroni)."""
    return 1 - (1 - level) / max(gaps, 1)


def ends(found: Interval) -> list[float | None] | None:
    """Return an interval's bounds for a record; None if it has none."""
    return None if math.isinf(found.low) else [significant(found.low), significant(found.high)]


def shared_fields(damage: str, sha256: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the last fields of a record."""
    damaged = {"damaged": True} if damage else {}
    digest = {} if sha256 is None else {"sha256": sha256}
    return {**damaged, **digest, "settings": dict(settings)}


def order_of(means: Array, captions: Sequence[str]) -> list[int]:
    """Return the captions' numbers, the best first; ties are broken by their text, not by their place."""
    return sorted(range(len(captions)), key=lambda number: (-means[number], captions[number]))
