"""From an error table [draw × label] to losses, intervals and the labels that stay in the race.

Pure numerics: the table holds one error per draw and label, NaN where a label took no part.
Only paired differences over shared draws are ever judged. Must not know networks.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]  # [draws labels]
Mask = NDArray[np.bool_]  # [labels]

BEST_AT = 32  # the number of draws for which the confidence sequence is tightest
LEAST = 8  # fewer draws say too little about the spread
TTEST_LEAST, TTEST_P = 20, 2e-3
STAGED_DRAWS, STAGED_KEEP = 5, 5
TINY = 1e-12  # of a mean square: none is believed to be less
MAGNITUDES, STEPS = 6, 241  # of the search for a temperature: how far from the mean gap, and how finely


# Scores: what one draw costs a label; lower is better.


def mean_square(errors: Table) -> Table:
    """Take the errors as they are (they are mean squares)."""
    return errors


def mean_absolute(errors: Table) -> Table:
    """Take the errors as they are (they are mean absolute values)."""
    return errors


def norm(errors: Table) -> Table:
    """Take the root of each mean square."""
    return np.sqrt(errors)


def logarithm(errors: Table) -> Table:
    """Take the logarithm of each mean square: what counts is by which factor an error is smaller."""
    return np.log(np.maximum(errors, TINY))


def vote(errors: Table) -> Table:
    """Give each draw's vote to the label with the least error there, shared between equals."""
    wins = (errors == np.nanmin(errors, axis=1, keepdims=True)).astype(float)
    return np.where(np.isnan(errors), np.nan, -wins / wins.sum(axis=1, keepdims=True))


# Paired comparison.


def paired(losses: Table, leader: int, floor: float = 0.0) -> tuple[Table, Table, Table]:
    """Return mean, spread and number of each label's shared differences to the leader (positive: worse).

    `floor`² / n is added to the variance: n equal votes do not show that no vote will ever differ.
    """
    differences = losses - losses[:, [leader]]
    there = ~np.isnan(differences)
    counts = there.sum(axis=0)
    means = np.where(there, differences, 0).sum(axis=0) / np.maximum(counts, 1)
    squares = (np.where(there, differences - means, 0) ** 2).sum(axis=0)
    variance = squares / np.maximum(counts - 1, 1) + floor**2 / np.maximum(counts, 1)
    return means, np.sqrt(variance), counts


def error_of(spread: Table, counts: Table) -> Table:
    """Return the standard error of each mean difference."""
    return spread / np.sqrt(np.maximum(counts, 1))


def radius(spread: Table, counts: Table, alpha: float) -> Table:
    """Return the half-width of an asymptotic confidence sequence: valid at every number of draws at once.

    spread · sqrt(2 (nρ² + 1) / (n²ρ²) · log(sqrt(nρ² + 1) / α)), with ρ² chosen to be tightest near BEST_AT draws.
    Asymptotic: of fewer than LEAST draws it says nothing.
    """
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / BEST_AT
    n = np.maximum(counts, 1)
    width = spread * np.sqrt(2 * (n * rho2 + 1) / (n**2 * rho2) * np.log(np.sqrt(n * rho2 + 1) / alpha))
    return np.where(counts < LEAST, np.inf, width)


def share(confidence: float, labels: int) -> float:
    """Split the error probability over the comparisons with the leader."""
    return (1 - confidence) / max(labels - 1, 1)


def leader_of(losses: Table, alive: Mask, ties: NDArray[np.int64]) -> int:
    """Return the label in the race with the least mean loss; equals go by `ties`, not by position."""
    means = np.where(alive, np.nansum(losses, axis=0), np.inf)
    return int(np.lexsort((ties, means))[0])


# Schedules: who stays. `alive` labels have taken every draw of the table.


def race(losses: Table, alive: Mask, leader: int, confidence: float, floor: float = 0.0) -> Mask:
    """Keep a label until its gap to the leader is positive for sure, however often one looks."""
    means, spread, counts = paired(losses, leader, floor)
    return alive & ~(means > radius(spread, counts, share(confidence, losses.shape[1])))


def ttest(losses: Table, alive: Mask, leader: int, confidence: float, floor: float = 0.0) -> Mask:
    """Keep a label until a paired t-test against the leader gives p < 0.002 (two-sided, as published)."""
    means, spread, counts = paired(losses, leader, floor)
    n = len(losses)
    if n < TTEST_LEAST:
        return alive
    return alive & ~(means > t_quantile(1 - TTEST_P / 2, n - 1) * spread / np.sqrt(counts))


def staged(losses: Table, alive: Mask, leader: int, confidence: float, floor: float = 0.0) -> Mask:
    """Keep the five best after the first five draws, whoever they are."""
    if len(losses) < STAGED_DRAWS:
        return alive
    means = np.where(alive, np.nansum(losses, axis=0), np.inf)
    best = np.argsort(means, kind="stable")[:STAGED_KEEP]
    return alive & np.isin(np.arange(len(alive)), best)


def fixed(losses: Table, alive: Mask, leader: int, confidence: float, floor: float = 0.0) -> Mask:
    """Keep every label to the end."""
    return alive


def t_quantile(probability: float, freedom: int) -> float:
    """Return Student's t quantile by the Cornish-Fisher series (error below 1e-3 from 19 degrees on)."""
    z = NormalDist().inv_cdf(probability)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def probabilities(losses: Table, leader: int, temperature: float | None, floor: float = 0.0) -> NDArray[np.float64]:
    """Return what every label's gap to the leader makes of it; they sum to one.

    With a temperature, which is in units of the loss and was fitted on images with known labels, a softmax over
    −gap / √(temperature² + error²): how often such an answer is right. The temperature stands for what a model has
    learnt wrongly, which more draws do not mend, and the gap's standard error for what they do; a single draw's is
    taken to be as large as its gap.

    Without one, a softmax over −z²/2, z being the standardised gap: how sure the draws are about the order. z²/2 is the
    normal log-likelihood ratio of "the gap is as seen" to "there is none": near-ties share the mass, and many labels
    that are clearly worse do not drown the winner, as they would in a softmax over z.
    """
    means, spread, counts = paired(losses, leader, floor)
    error = error_of(spread, counts)
    if temperature is not None:
        error = np.where(counts < 2, np.abs(means), error)
        return shares_at(np.hypot(temperature, error), np.maximum(means, 0))
    z = np.divide(means, error, out=np.where(means > 0, np.inf, 0.0), where=error > 0)
    z = np.where((counts < 2) | (z < 0), 0.0, z)
    weights = np.exp(-(z**2) / 2)
    return weights / weights.sum()


def shares_at(widths: float | Table, gaps: Table) -> NDArray[np.float64]:
    """Return a softmax over −gap / width, along the last axis."""
    weights = np.exp(-(gaps - gaps.min(axis=-1, keepdims=True)) / widths)
    return weights / weights.sum(axis=-1, keepdims=True)


def fitted_temperature(gaps: Table, errors: Table, truth: NDArray[np.int64]) -> float | None:
    """Return the temperature under which the right labels were likeliest; None if the gaps tell nothing about them.

    `errors` are the gaps' standard errors. One image more, with the usual gaps, is taken to have been of any label:
    else a model that made no mistake would be sure of all.
    """
    scale = float(gaps.mean())
    if scale <= 0:
        return None
    order = np.argsort(gaps, axis=1)
    usual, unsure = (np.take_along_axis(part, order, axis=1).mean(axis=0) for part in (gaps, errors))
    images = np.arange(len(gaps))

    def loss(exponent: float) -> float:
        logs = np.log(shares_at(np.hypot(scale * 10**exponent, errors), gaps)[images, truth] + TINY)
        more = np.log(shares_at(np.hypot(scale * 10**exponent, unsure), usual) + TINY)
        return -float(logs.sum() + more.mean()) / (len(gaps) + 1)

    coarse = min(np.linspace(-MAGNITUDES, MAGNITUDES, STEPS), key=loss)
    width = 2 * MAGNITUDES / (STEPS - 1)
    best = min(np.linspace(coarse - width, coarse + width, STEPS), key=loss)
    return scale * 10 ** float(best) if loss(best) < math.log(gaps.shape[1]) else None
