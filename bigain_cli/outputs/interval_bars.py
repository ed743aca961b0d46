"""The common axis of an image's interval bars: the leader is at zero, labels to the right are worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isnan

from bigain_cli.classification.ranking import RankedLabel

_WIDTH = 4  # times the runner-up's far end: eliminated labels beyond are cut off
_MARGIN = 0.04


def in_order(ranked: Sequence[RankedLabel]) -> list[RankedLabel]:
    """Return labels with gaps that never fall, as their scores never rise; the leader is first."""
    placed: list[RankedLabel] = []
    furthest = -inf
    for each in ranked:
        if not isnan(each.gap):
            furthest = max(furthest, each.gap)
            each = replace(each, gap=furthest)
        placed.append(each)
    return placed


def axis_ends(ranked: Sequence[RankedLabel]) -> tuple[float, float]:
    """Return the ends of the axis for labels, the leader first; those scored on other draws are not on it."""
    ranked = [each for each in ranked if not isnan(each.gap)]
    far = [each.gap + (each.half_width or 0) for each in ranked[1:]]
    if not far:
        return -1.0, 1.0
    contenders = [end for end, each in zip(far, ranked[1:], strict=True) if each.is_contender]
    high = max(min(max(far), _WIDTH * far[0]), *contenders, 0.0) or 1.0
    low = max(min(0.0, *(each.gap - (each.half_width or 0) for each in ranked)), -high)
    margin = _MARGIN * (high - low)
    return low - margin, high + margin


def beyond(value: float, ends: tuple[float, float]) -> int:
    """Return 1 for a value beyond the right end of the axis, −1 beyond the left end, else 0."""
    return (value > ends[1]) - (value < ends[0])


def fraction(value: float, ends: tuple[float, float]) -> float:
    """Return the position of a value on the axis, from 0 to 1, also if it is beyond an end."""
    low, high = ends
    return (min(max(value, low), high) - low) / (high - low)
