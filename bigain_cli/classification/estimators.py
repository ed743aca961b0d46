"""From an error table [draws labels] to losses, intervals, probabilities and the labels to keep.

Pure numerics: the table holds one error per draw and label, NaN where a label had been dropped.
Only paired differences over shared draws are compared. Must not know networks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification.confidence import GapRules, half_widths, paired_gaps, t_quantile
from bigain_cli.registry import BLOCK

Table = NDArray[np.float64]  # [draws labels]
Mask = NDArray[np.bool_]  # [labels]

PLAIN = GapRules()
TTEST_LEAST_DRAWS, TTEST_P = 20, 2e-3
STAGED_DRAWS, STAGED_KEEP = 5, 5
TINY = 1e-12  # the least mean square that is taken a logarithm of
MAGNITUDES, STEPS = 6, 241  # of the search for a temperature: how far from the mean gap, and how finely


# Scores: from errors to losses.


def mean_square(errors: Table) -> Table:
    """Return the errors, which are mean squares."""
    return errors


def mean_absolute(errors: Table) -> Table:
    """Return the errors, which are mean absolute values."""
    return errors


def norm(errors: Table) -> Table:
    """Return the root of each mean square."""
    return np.sqrt(errors)


def logarithm(errors: Table) -> Table:
    """Return the logarithm of each mean square, so that ratios of errors count."""
    return np.log(np.maximum(errors, TINY))


def vote(errors: Table) -> Table:
    """Give each draw's vote to the label with the least error there, shared between equals."""
    wins = (errors == np.nanmin(errors, axis=1, keepdims=True)).astype(float)
    return np.where(np.isnan(errors), np.nan, -wins / wins.sum(axis=1, keepdims=True))


def leader_of(losses: Table, remaining: Mask, ties: NDArray[np.int64]) -> int:
    """Return the remaining label with the least mean loss; ties are broken by `ties`, not by position."""
    means = np.where(remaining, np.nansum(losses, axis=0), np.inf)
    return int(np.lexsort((ties, means))[0])


# Schedules: the labels to keep. `remaining` labels have taken every draw of the table.


def race(losses: Table, remaining: Mask, leader: int, rules: GapRules) -> Mask:
    """Keep a label until its gap to the leader is significant at one of the checks."""
    return remaining if len(losses) % BLOCK else contenders(losses, remaining, leader, rules)


def contenders(losses: Table, remaining: Mask, leader: int, rules: GapRules) -> Mask:
    """Return the labels whose gap to the leader is not significant, and until an answer may be settled one at least."""
    gaps = np.where(remaining, paired_gaps(losses, leader, rules).means, np.inf)
    kept = remaining & ~(gaps > half_widths(losses, leader, rules))
    if len(losses) < rules.least_draws and remaining.sum() > 1 and kept.sum() < 2:
        kept[rules.best_first(np.where(np.arange(len(gaps)) == leader, np.inf, gaps))[0]] = True
    return kept


def ttest(losses: Table, remaining: Mask, leader: int, rules: GapRules) -> Mask:
    """Keep a label until a paired t-test against the leader gives p < 0.002 (two-sided, as published)."""
    n = len(losses)
    if n < TTEST_LEAST_DRAWS:
        return remaining
    gaps = paired_gaps(losses, leader, rules)
    return remaining & ~(gaps.means > t_quantile(TTEST_P / 2, np.array(n - 1.0)) * gaps.errors)


def staged(losses: Table, remaining: Mask, leader: int, rules: GapRules) -> Mask:
    """Keep the five best after the first five draws."""
    if len(losses) < STAGED_DRAWS:
        return remaining
    means = np.where(remaining, np.nansum(losses, axis=0), np.inf)
    return remaining & np.isin(np.arange(len(remaining)), rules.best_first(means)[:STAGED_KEEP])


def fixed(losses: Table, remaining: Mask, leader: int, rules: GapRules) -> Mask:
    """Keep every label to the end."""
    return remaining


def probabilities(
    losses: Table, leader: int, temperature: float | None, rules: GapRules = PLAIN
) -> NDArray[np.float64]:
    """Return each label's probability, from its gap to the leader.

    With a temperature (in units of the loss, fitted on images with known labels), a softmax over
    −gap / √(temperature² + error²): how often such a label is right. The temperature covers the model's own mistakes,
    which more draws do not reduce, the standard error those of few draws; that of a single draw is its gap.

    Without one, a softmax over −z²/2, z being the standardised gap: how sure the draws are about the order. z²/2 is the
    normal log-likelihood ratio of "the gap is as measured" to "there is none": near-ties share the mass, and many
    labels that are clearly worse do not take it from the leader, as they would in a softmax over z.
    """
    gaps = paired_gaps(losses, leader, rules)
    means, error, counts = gaps.means, gaps.errors, gaps.counts
    if temperature is not None:
        error = np.where(counts < 2, np.abs(means), error)
        return gap_softmax(np.hypot(temperature, error), np.maximum(means, 0))
    z = np.divide(means, error, out=np.where(means > 0, np.inf, 0.0), where=error > 0)
    z = np.where((counts < 2) | (z < 0), 0.0, z)
    weights = np.exp(-(z**2) / 2)
    return weights / weights.sum()


def gap_softmax(widths: float | Table, gaps: Table) -> NDArray[np.float64]:
    """Return a softmax over −gap / width, along the last axis."""
    weights = np.exp(-(gaps - gaps.min(axis=-1, keepdims=True)) / widths)
    return weights / weights.sum(axis=-1, keepdims=True)


def never_rising(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest sequence that never rises: neighbours that do share their mean, so that the sum stays."""
    blocks: list[tuple[float, int]] = []  # mean and size
    for value in values:
        mean, size = float(value), 1
        while blocks and blocks[-1][0] < mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    return np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])


def fitted_temperature(gaps: Table, errors: Table, truth: NDArray[np.int64]) -> float | None:
    """Return the temperature of maximum likelihood for the true labels; None if no temperature beats chance.

    `errors` are the gaps' standard errors. One image more, with the mean gaps, counts as one of every label: otherwise
    a model without mistakes would get a temperature of 0.
    """
    scale = float(gaps.mean())
    if scale <= 0:
        return None
    order = np.argsort(gaps, axis=1)
    mean_gaps, mean_errors = (np.take_along_axis(part, order, axis=1).mean(axis=0) for part in (gaps, errors))
    images = np.arange(len(gaps))

    def loss(exponent: float) -> float:
        logs = np.log(gap_softmax(np.hypot(scale * 10**exponent, errors), gaps)[images, truth] + TINY)
        more = np.log(gap_softmax(np.hypot(scale * 10**exponent, mean_errors), mean_gaps) + TINY)
        return -float(logs.sum() + more.mean()) / (len(gaps) + 1)

    coarse = min(np.linspace(-MAGNITUDES, MAGNITUDES, STEPS), key=loss)
    width = 2 * MAGNITUDES / (STEPS - 1)
    best = min(np.linspace(coarse - width, coarse + width, STEPS), key=loss)
    return scale * 10 ** float(best) if loss(best) < math.log(gaps.shape[1]) else None
