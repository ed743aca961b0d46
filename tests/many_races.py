"""Thousands of races at once, on tables of losses, and error laws under which all labels are equally good."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification.confidence import alpha_of_check, asymptotic_half_widths
from bigain_cli.noise_draws import radical_inverse
from bigain_cli.registry import BLOCK

Array = NDArray[np.float64]
Width = Callable[[Array, Array, float, int, int], Array]  # differences [n r k], times [n r], α, rivals, labels

ALPHA = 0.05
TIGHTEST_AT = 32


@dataclass(frozen=True)
class Races:
    """How many races ended."""

    remaining: NDArray[np.bool_]  # [races labels]
    winner: NDArray[np.int64]  # the label in the lead
    evaluations: NDArray[np.int64]
    draws: NDArray[np.int64]

    @property
    def settled(self) -> NDArray[np.bool_]:
        """Whether one label is left."""
        return self.remaining.sum(axis=1) == 1


def stratified(differences: Array, times: Array, alpha: float, rivals: int, labels: int) -> Array:
    """Return half-widths as the race takes them."""
    return asymptotic_half_widths(differences, times, alpha_of_check(len(differences), alpha / rivals), rivals)


def anytime(differences: Array, times: Array, alpha: float, rivals: int, labels: int) -> Array:
    """Return half-widths as earlier versions took them: a confidence sequence from all draws' standard deviation."""
    n, alpha = len(differences), alpha / (labels - 1)
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / TIGHTEST_AT
    factor = math.sqrt(2 * (n * rho2 + 1) / (n**2 * rho2) * math.log(math.sqrt(n * rho2 + 1) / alpha))
    return np.asarray(differences.std(axis=0, ddof=1) * factor)


def race_many(
    losses: Array, times: Array, least_draws: int = BLOCK, width: Width = stratified, alpha: float = ALPHA
) -> Races:
    """Race on every table until one label is left; NaN is for labels that are far behind."""  # [r n k], [r n]
    races, most, labels = losses.shape
    remaining = np.ones((races, labels), dtype=bool)
    winner, evaluations, draws = (np.zeros(races, dtype=np.int64) for _ in range(3))
    for n in range(BLOCK, most + 1, BLOCK):
        running = np.flatnonzero(remaining.sum(axis=1) > 1)
        for rivals in np.unique(remaining[running].sum(axis=1)) - 1:
            group = running[remaining[running].sum(axis=1) == rivals + 1]
            kept = remaining[group]
            evaluations[group], draws[group] = evaluations[group] + BLOCK * (rivals + 1), n
            part = np.where(kept[:, None], losses[group, :n], np.nan)
            means = np.where(kept, part.mean(axis=1), np.inf)
            means = np.where(np.isnan(means), np.inf, means)
            winner[group] = means.argmin(axis=1)
            rows = np.arange(len(group))
            gaps = means - means[rows, winner[group]][:, None]
            differences = (part - part[rows, :, winner[group]][:, :, None]).swapaxes(0, 1)
            differences = np.where(np.isnan(differences), 0, differences)
            remaining[group] = kept & ~(gaps > width(differences, times[group, :n].T, alpha, int(rivals), labels))
            if n < least_draws:
                lonely = np.flatnonzero(remaining[group].sum(axis=1) == 1)
                gaps[rows, winner[group]] = np.inf
                remaining[group[lonely], gaps[lonely].argmin(axis=1)] = True
    return Races(remaining, winner, evaluations, draws)


def even_times(races: int, draws: int, rng: np.random.Generator) -> Array:
    """Return evenly spread times of each race's draws, as the program takes them."""  # [races draws]
    order = np.array([radical_inverse(index) for index in range(draws)])
    return (order + rng.random((races, 1))) % 1


def _window(t: Array, rng: np.random.Generator, share: float = 0.06) -> NDArray[np.bool_]:
    """Return which draws fall into a window of so much of the time, somewhere."""
    return (t - rng.random((len(t), 1))) % 1 < share


def equal_labels(law: str, races: int, draws: int, labels: int, seed: int = 0) -> tuple[Array, Array]:
    """Return losses with the same expectation for all labels, the first label's by the law, and the draws' times."""
    rng = np.random.default_rng(seed)
    losses = rng.standard_normal((races, draws, labels))
    t = even_times(races, draws, rng)
    if law in LAWS_OF_ALL:
        losses = LAWS_OF_ALL[law](losses, t, rng)
    else:
        losses[:, :, 0] = LAWS_OF_ONE[law](t, rng)
    return losses + rng.gamma(2.0, 1.0, (races, draws, 1)), t


def _lognormal(sigma: float, sign: float = 1) -> Callable[[Array, np.random.Generator], Array]:
    return lambda t, rng: sign * (np.exp(sigma * rng.standard_normal(t.shape)) - math.exp(sigma**2 / 2))


def _rare(gap: float, share: float = 0.03) -> Callable[[Array, np.random.Generator], Array]:
    """Let a share of the draws carry all of the first label's error; in the others it seems better by `gap`."""
    return lambda t, rng: np.where(rng.random(t.shape) < share, gap / share, 0) - gap


LAWS_OF_ALL: dict[str, Callable[[Array, Array, np.random.Generator], Array]] = {
    "normal": lambda losses, t, rng: losses,
    "Student's t, 3 degrees": lambda losses, t, rng: rng.standard_t(3, losses.shape),
    "exponential": lambda losses, t, rng: rng.exponential(1, losses.shape),
    "evidence in 6 % of the times": lambda losses, t, rng: np.where(_window(t, rng)[:, :, None], losses, 0),
    "evidence in 6 % of the draws": lambda losses, t, rng: np.where(rng.random((*t.shape, 1)) < 0.06, losses, 0),
    "spread grows 20 times with time": lambda losses, t, rng: losses * np.exp(3 * t)[:, :, None],
}
LAWS_OF_ONE: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "one label's lognormal, sigma 1": _lognormal(1),
    "the same, its negative": _lognormal(1, -1),
    "one label's lognormal, sigma 1.5": _lognormal(1.5),
    "3 % of the draws carry one label's, 0.55": _rare(0.55),
    "3 % of the draws carry one label's, 1": _rare(1),
    "3 % of the draws carry one label's, 10": _rare(10),
    "one label's rises with time": lambda t, rng: 6 * (t - 0.5),
    "one label's jumps half-way": lambda t, rng: np.where((t - rng.random((len(t), 1))) % 1 < 0.5, 1.0, -1.0),
    "6 % of the times carry one label's": lambda t, rng: _window(t, rng) / 0.06 * 0.7 - 0.7,
}
LAWS = (*LAWS_OF_ALL, *LAWS_OF_ONE)
