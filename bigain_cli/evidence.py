"""Where in an image the evidence lies: the image as the model sees it, and every pixel's share of a gap.

Plain data that travels with a Ranking and stays out of its record. Must not know how it was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image


@dataclass(frozen=True)
class Evidence:
    """What speaks for the winner and against another label; the map's sum is the gap between the two."""

    against: str | None  # None: the empty prompt
    gap: float
    draws: int  # those that both labels took part in
    map: NDArray  # [h w] float64, positive where the image speaks for the winner
    remainder: float = 0.0  # what belongs to no place (scores that do not add up), spread evenly over the map


@dataclass(frozen=True)
class Exhibit:
    """One image as the model sees it, and the maps of its first comparisons, if they were requested."""

    picture: Image
    maps: tuple[Evidence, ...] = ()
