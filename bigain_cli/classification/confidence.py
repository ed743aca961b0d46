"""How sure mean paired differences are: standard errors over evenly spread times, and when a gap is significant.

In: a table of losses and the leader's column; out: each label's gap to the leader, its standard error, and half the
width of its interval. The interval is asymptotic, but for bounded scores. Pure numerics; must not know networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification.bounded_gaps import betting_half_widths
from bigain_cli.noise_draws import radical_inverse
from bigain_cli.registry import LOOK

Table = NDArray[np.float64]  # [draws labels]
Vector = NDArray[np.float64]  # [labels]

CARRIED = 3.0  # most degrees of freedom for each square that carries their sum
POOLED_FREEDOM, POOLED_RIVALS = 5.0, 3  # what the rivals' mean variance counts for, if there are so many
SKEWNESS = 2.0  # how much of the observed skewness is reckoned with: few draws show too little of it


@dataclass(frozen=True)
class Confidence:
    """What makes a gap significant, and how many draws it takes to settle an answer."""

    level: float = 0.95
    least_draws: int = LOOK
    floor: float = 0.0  # floor² / n is added to a variance: n equal votes do not show that none will ever differ
    bounded: bool = False  # whether differences lie within ±1


@dataclass(frozen=True)
class Gaps:
    """Each label's mean paired difference to the leader (positive: worse), over the draws that both took."""

    means: Vector
    errors: Vector  # the means' standard errors
    counts: NDArray[np.int64]  # of draws


def paired_gaps(losses: Table, leader: int, floor: float = 0.0) -> Gaps:
    """Return all labels' gaps; what lies between times, which are evenly spread, is not part of their errors."""
    counts = (~np.isnan(losses)).sum(axis=0)
    means, errors = np.zeros(len(counts)), np.zeros(len(counts))
    for n, labels, differences in _shared_draws(losses, leader, counts):
        means[labels] = differences.mean(axis=0)
        errors[labels] = np.sqrt((neighbour_squares(differences).mean(axis=0) + floor**2 / n) / n)
    return Gaps(means, errors, counts)


def half_widths(losses: Table, leader: int, confidence: Confidence) -> Vector:
    """Return half the width of each gap's interval, which holds at all looks together; infinite before the first.

    The probability of an error is shared by the labels that took as many draws (Bonferroni).
    """
    counts = (~np.isnan(losses)).sum(axis=0)
    widths = np.full(len(counts), np.inf)
    for n, labels, differences in _shared_draws(losses, leader, counts):
        if n >= LOOK:
            alpha = (1 - confidence.level) / max(len(labels) - 1, 1)
            alpha = alpha_of_look(n, alpha, independent=confidence.bounded)
            width = betting_half_widths if confidence.bounded else asymptotic_half_widths
            widths[labels] = width(differences, alpha)
    return widths


def _shared_draws(
    losses: Table, leader: int, counts: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.int64], Table]]:
    """Yield each number of draws, the labels that took as many or more, and their differences over those draws."""
    for n in np.unique(counts[counts > 0]):
        labels = np.flatnonzero(counts >= n)
        yield int(n), labels, losses[:n, labels] - losses[:n, [leader]]


def asymptotic_half_widths(differences: Table, alpha: float, rivals: int | None = None) -> Vector:
    """Return critical value times standard error for each label's differences; those of the leader are zero.

    The variance is moderated: that of the rivals, on average, counts for a few degrees of freedom. Where few squares
    carry the sum, there are fewer degrees of freedom. Where the best draws of a label are missing, as negative
    skewness shows, the critical value rises by the first term of the Edgeworth expansion of a studentised mean.
    """
    n, rivals = len(differences), differences.shape[-1] - 1 if rivals is None else rivals
    squares = neighbour_squares(differences)
    variance = squares.mean(axis=0)
    carriers = squares.sum(axis=0) ** 2 / np.maximum((squares**2).sum(axis=0), np.finfo(float).tiny)
    freedom = np.maximum(np.minimum(2 / 3 * n, CARRIED * carriers), 1)
    if rivals >= POOLED_RIVALS:
        pooled = variance.sum(axis=-1, keepdims=True) / rivals
        variance = (freedom * variance + POOLED_FREEDOM * pooled) / (freedom + POOLED_FREEDOM)
        freedom = freedom + POOLED_FREEDOM
    critical = t_quantile(alpha, freedom)
    adverse = SKEWNESS * np.maximum(-skewness(differences), 0) / math.sqrt(n)
    return (critical + adverse * (1 + 2 * critical**2) / 6) * np.sqrt(variance / n)


def neighbour_squares(differences: Table) -> Table:
    """Return half the squared difference of each two draws next to each other in time, the last and the first, too.

    Their mean is the variance at one time. What lies between times is left out: draws in van der Corput's order are
    spread evenly, so that it hardly enters their mean. A jump from the last to the first covers the unknown shift.
    """
    by_time = differences[_time_order(len(differences))]
    return (by_time - np.roll(by_time, 1, axis=0)) ** 2 / 2


@lru_cache(maxsize=64)
def _time_order(draws: int) -> NDArray[np.int64]:
    return np.argsort([radical_inverse(index) for index in range(draws)])


def skewness(differences: Table) -> Vector:
    """Return the skewness of each column, 0 where all values are equal."""
    centred = differences - differences.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    return (centred**3).mean(axis=0) / np.maximum(spread, np.finfo(float).tiny ** 0.25) ** 3


def alpha_of_look(draws: int, alpha: float, independent: bool = False) -> float:
    """Return the share of an error probability that belongs to the look after so many draws.

    Each doubling of draws from LOOK on gets its share, 1/4, 1/4, 3/16, 1/8, 5/64 …, in sum 1, whatever the most
    draws. Looks within a doubling share it; as they are correlated, they count for no more than 1 + ½ ln 2 · z²
    (how often a Brownian motion crosses z·√n between n and 2n), unless they must pass for independent.
    """
    doublings = int(math.log2(draws / LOOK))
    share = alpha * (doublings + 1) / 2 ** (doublings + 2)
    looks = 2.0**doublings
    if not independent:
        looks = min(looks, 1 + math.log(2) / 2 * NormalDist().inv_cdf(share / 4) ** 2)
    return share / looks


def t_quantile(alpha: float, freedom: Vector) -> Vector:
    """Return Student's upper quantile, by Wallace's transformation of the normal one.

    Too large rather than too small; by less than 1e-3 of itself from 19 degrees of freedom on (down to p = 0.001).
    """
    z = -NormalDist().inv_cdf(alpha) * (8 * freedom + 3) / (8 * freedom + 1)
    return np.sqrt(freedom * np.expm1(z**2 / freedom))
