"""How sure mean paired differences are: standard errors over evenly spread times, and when a gap is significant.

In: a table of losses and the leader's column; out: each label's gap to the leader, its standard error, and half the
width of its interval. The interval is asymptotic, but for bounded scores. Pure numerics; must not know networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification.bounded_gaps import betting_half_widths
from bigain_cli.noise_draws import radical_inverse
from bigain_cli.registry import BLOCK

Array = NDArray[np.float64]
Table = Array  # [draws labels]
Vector = Array  # [labels]

CARRIED = 3.0  # most degrees of freedom for each square that carries their sum
POOLED_FREEDOM, POOLED_RIVALS = 5.0, 3  # what the rivals' mean variance counts for, if there are so many
TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class GapRules:
    """How gaps are judged, and how many draws it takes to settle an answer."""

    level: float = 0.95
    least_draws: int = BLOCK
    floor: float = 0.0  # floor² / n is added to a variance: n equal votes do not show that none will ever differ
    bounded: bool = False  # whether differences lie within ±1
    times: Array | None = None  # of the draws, from 0 to 1; by default van der Corput's
    ties: NDArray[np.int64] | None = None  # the rank of each label among equally good ones; by default its position

    def times_of(self, draws: int) -> Array:
        """Return the times of the first draws."""
        return van_der_corput(draws) if self.times is None else self.times[:draws]

    def best_first(self, losses: Vector) -> NDArray[np.int64]:
        """Return the labels by their losses; equal ones by their ranks."""
        return np.lexsort((np.arange(len(losses)) if self.ties is None else self.ties, losses))


@dataclass(frozen=True)
class Gaps:
    """Each label's mean paired difference to the leader (positive: worse), over the draws that both took."""

    means: Vector
    errors: Vector  # the means' standard errors, as if the draws' times were random; for probabilities
    counts: NDArray[np.int64]  # of draws


def paired_gaps(losses: Table, leader: int, rules: GapRules) -> Gaps:
    """Return all labels' gaps. Their errors count what lies between times, which calibrates probabilities better."""
    counts = (~np.isnan(losses)).sum(axis=0)
    means, errors = np.zeros(len(counts)), np.zeros(len(counts))
    for n, labels, differences in _shared_draws(losses, leader, counts):
        variance = differences.var(axis=0, ddof=1) if n > 1 else np.zeros(len(labels))
        means[labels] = differences.mean(axis=0)
        errors[labels] = np.sqrt((variance + rules.floor**2 / n) / n)
    return Gaps(means, errors, counts)


def half_widths(losses: Table, leader: int, rules: GapRules) -> Vector:
    """Return half the width of each gap's interval, which holds at all checks together; infinite before the first.

    The probability of an error is shared by the labels that took as many draws (Bonferroni).
    """
    counts = (~np.isnan(losses)).sum(axis=0)
    widths = np.full(len(counts), np.inf)
    for n, labels, differences in _shared_draws(losses, leader, counts):
        if n < BLOCK:
            continue
        rivals = len(labels) - 1
        alpha = alpha_of_check(n, (1 - rules.level) / max(rivals, 1), independent=rules.bounded)
        if rules.bounded:
            widths[labels] = betting_half_widths(differences, alpha)
        else:
            widths[labels] = asymptotic_half_widths(differences, rules.times_of(n), alpha, rivals)
    return widths


def _shared_draws(
    losses: Table, leader: int, counts: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.int64], Table]]:
    """Yield each number of draws, the labels that took as many or more, and their differences over those draws."""
    for n in np.unique(counts[counts > 0]):
        labels = np.flatnonzero(counts >= n)
        yield int(n), labels, losses[:n, labels] - losses[:n, [leader]]


@dataclass(frozen=True)
class Spread:
    """How differences spread at one time. Draws are spread evenly over time: what lies between times hardly enters
    their mean, but for the drift, by which uneven times would move the mean of differences that rise steadily.
    """

    variance: Array  # of one draw
    freedom: Array  # degrees of freedom of the variance; fewer where few squares carry its sum
    drift: Array

    @staticmethod
    def of(differences: Array, times: Array) -> Spread:
        """Measure it between neighbours in time."""  # [draws … labels], [draws …]
        order = np.argsort(times, axis=0, kind="stable")
        order = order.reshape(*order.shape, *[1] * (differences.ndim - order.ndim))
        by_time = np.take_along_axis(differences, order, axis=0)
        squares = np.diff(by_time, axis=0) ** 2 / 2
        total = squares.sum(axis=0)
        carriers = total**2 / np.maximum((squares**2).sum(axis=0), TINY)
        freedom = np.maximum(np.minimum(2 / 3 * len(squares), CARRIED * carriers), 1)
        uneven = np.abs(times.mean(axis=0) - 0.5)[..., None]
        return Spread(total / max(len(squares), 1), freedom, np.abs(by_time[-1] - by_time[0]) * uneven)


def asymptotic_half_widths(differences: Array, times: Array, alpha: float, rivals: int) -> Array:
    """Return critical value times standard error for each label's differences; those of the leader are zero.

    From a few rivals on the variance is moderated: their mean counts for some degrees of freedom. Where a label's best
    draws are missing, as negative skewness shows, the critical value rises by the first term of the Edgeworth
    expansion of a studentised mean.
    """
    n, spread = len(differences), Spread.of(differences, times)
    variance, freedom = spread.variance, spread.freedom
    if rivals >= POOLED_RIVALS:
        pooled = variance.sum(axis=-1, keepdims=True) / rivals
        variance = (freedom * variance + POOLED_FREEDOM * pooled) / (freedom + POOLED_FREEDOM)
        freedom = freedom + POOLED_FREEDOM
    critical = t_quantile(alpha, freedom)
    adverse = np.maximum(-skewness(differences), 0) / math.sqrt(n)
    return (critical + adverse * (1 + 2 * critical**2) / 6) * np.sqrt(variance / n) + spread.drift


def van_der_corput(draws: int) -> Array:
    """Return the times of so many draws, without a shift."""
    return np.array([radical_inverse(index) for index in range(draws)]) + 0.5 / max(draws, 1)


def skewness(differences: Array) -> Array:
    """Return the skewness of each column, 0 where all values are equal."""
    centred = differences - differences.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    return np.asarray((centred**3).mean(axis=0) / np.maximum(spread, TINY**0.25) ** 3)


def alpha_of_check(draws: int, alpha: float, independent: bool = False) -> float:
    """Return the share of an error probability that belongs to the check after so many draws.

    Each doubling of the draws from BLOCK on gets its share, 1/4, 1/4, 3/16, 1/8, 5/64 …, in sum 1, whatever the most
    draws. Checks within a doubling share it; as they are correlated, they count for no more than 1 + ½ ln 2 · z²
    (how often a Brownian motion crosses z·√n between n and 2n), unless they must count as independent.
    """
    doublings = int(math.log2(draws / BLOCK))
    share = alpha * (doublings + 1) / 2 ** (doublings + 2)
    checks = 2.0**doublings
    if not independent:
        checks = min(checks, 1 + math.log(2) / 2 * NormalDist().inv_cdf(share / 4) ** 2)
    return share / checks


def t_quantile(alpha: float, freedom: Array) -> Array:
    """Return Student's upper quantile, by Wallace's transformation of the normal one.

    Too large rather than too small; by less than 1e-3 of itself from 19 degrees of freedom on (down to p = 0.001).
    """
    z = -NormalDist().inv_cdf(alpha) * (8 * freedom + 3) / (8 * freedom + 1)
    return np.asarray(np.sqrt(freedom * np.expm1(z**2 / freedom)))
