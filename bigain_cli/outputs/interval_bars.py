"""The axis that the interval bars of one image share: zero is where the winner stands, to the right is worse."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from bigain_cli.classification.ranking import RankedLabel

_WIDE = 4  # times the runner-up's far end: what lies beyond is cut off, unless it is still in the race
_ROOM = 0.04


def span(places: Sequence[RankedLabel]) -> tuple[float, float]:
    """Return the axis' ends; the first is the winner's. Labels scored on other draws have no place on it."""
    places = [place for place in places if not isnan(place.behind)]
    far = [place.behind + (place.radius or 0) for place in places[1:]]
    if not far:
        return -1.0, 1.0
    alive = [end for end, place in zip(far, places[1:], strict=True) if place.alive]
    high = max(min(max(far), _WIDE * far[0]), *alive, 0.0) or 1.0
    low = max(min(0.0, *(place.behind - (place.radius or 0) for place in places)), -high)
    room = _ROOM * (high - low)
    return low - room, high + room


def beyond(value: float, ends: tuple[float, float]) -> int:
    """Return 1 for what lies past the axis' right end, −1 past its left one, else 0."""
    return (value > ends[1]) - (value < ends[0])


def part(value: float, ends: tuple[float, float]) -> float:
    """Return where on the axis a value lies, from 0 to 1; what lies beyond is put at its end."""
    low, high = ends
    return (min(max(value, low), high) - low) / (high - low)
