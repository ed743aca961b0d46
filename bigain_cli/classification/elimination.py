"""Successive elimination of labels for one image: which draws come next, for which labels, and how labels rank.

In: blocks of errors; out: the next block's size, the labels still in the race, a Ranking's numbers.
Keeps the whole error table. Must not know images, networks or names beyond the labels'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification import estimators
from bigain_cli.classification.ranking import RankedLabel, Ranking
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.registry import DEFAULT_SCORE, SCHEDULES, SCORES, attribute


class Elimination:
    """Drops labels over shared draws, block by block."""

    def __init__(
        self,
        labels: Sequence[str],
        costs: Sequence[int],
        rules: StoppingRules,
        temperature: float | None = None,
        extra: int = 0,
    ) -> None:
        self.labels, self.rules, self.temperature = labels, rules, temperature
        self.extra = extra  # evaluations of each draw that belong to no label
        self.costs = np.asarray(costs)  # prompts of each label: evaluations per draw
        self.schedule = SCHEDULES[rules.schedule]
        self._keep = attribute(self.schedule.keep)
        score = SCORES[rules.score or DEFAULT_SCORE]
        self._score, self._floor, self.additive = attribute(score.losses), score.floor, score.additive
        self._ties = np.argsort(np.argsort(np.asarray(labels, dtype=object)))
        self._errors = np.empty((0, len(labels)))
        self._dropped_at = np.full(len(labels), np.iinfo(np.int64).max)  # draws at which a label was dropped
        self.alive = np.ones(len(labels), dtype=bool)
        self.evaluations = 0

    @property
    def draws(self) -> int:
        """Draws taken so far."""
        return len(self._errors)

    @property
    def cost(self) -> int:
        """Evaluations that the next draw takes."""
        return int(self.costs[self.alive].sum()) + self.extra

    def next_draws(self) -> int:
        """Return the size of the next block: 0 when one label is left or nothing more may be spent."""
        if self.alive.sum() < 2 and len(self.labels) > 1:
            return 0
        wanted = min(self._block(), self.rules.most_draws - self.draws)
        if self.rules.budget is not None:
            wanted = min(wanted, (self.rules.budget - self.evaluations) // self.cost)
        return max(wanted, 0)

    def _block(self) -> int:
        if self.rules.deadline is not None:
            return 1  # so that the clock is read after every draw
        if not self.schedule.staged:
            return self.schedule.block
        ends = np.cumsum([len(stage) for stage in self.schedule.staged])
        return next((int(end) - self.draws for end in ends if end > self.draws), 0)

    def add_errors(self, errors: NDArray[np.float64]) -> None:
        """Take a block of errors [draws labels] (NaN: out of the race) and drop the labels that cannot win."""
        self._errors = np.concatenate([self._errors, errors])
        self.evaluations += len(errors) * self.cost
        losses = self._losses()
        leader = estimators.leader_of(losses, self.alive, self._ties)
        kept = self._keep(losses, self.alive, leader, self.rules.confidence, self._floor)
        self._dropped_at[self.alive & ~kept] = self.draws
        self.alive = kept

    def ranking(self, id: str, settings: dict[str, Any], seconds: float | None, finished: bool) -> Ranking:
        """Rank: those in the race by their mean, the others behind, by when they left and by their mean then."""
        losses = self._losses()
        leader, order, means = self._ordered(losses)
        contenders = self._contenders(losses, leader)
        shares = estimators.probabilities(losses, leader, self.temperature, self._floor)
        counts = (~np.isnan(losses)).sum(axis=0)
        behind, errors, radii = self._gaps(losses, leader)
        ranked = tuple(
            RankedLabel(
                self.labels[k],
                float(shares[k]),
                -float(means[k]),
                int(counts[k]),
                bool(contenders[k]),
                float(behind[k]),
                float(errors[k]),
                float(radii[k]) if np.isfinite(radii[k]) else None,
            )
            for k in order
        )
        gap, interval = _between(ranked[1]) if len(ranked) > 1 else (None, None)
        return Ranking(
            id=id,
            ranked=ranked,
            decided=bool(contenders.sum() == 1),
            gap=gap,
            gap_interval=interval,
            draws=self.draws,
            evaluations=self.evaluations,
            finished=finished,
            seconds=seconds,
            settings=settings,
        )

    def first_two(self) -> tuple[int, int | None, float]:
        """Return the leader, the runner-up, and the gap between them over the draws they share: all of them."""
        losses = self._losses()
        leader, order, _ = self._ordered(losses)
        if len(order) < 2:
            return leader, None, 0.0
        second = int(order[1])
        assert not np.isnan(losses[:, [leader, second]]).any()
        return leader, second, float(self._gaps(losses, leader)[0][second])

    def mean_loss_of(self, label: int) -> float:
        """Return a label's mean loss under the score."""
        return float(np.nanmean(self._losses()[:, label]))

    def mean_loss(self, errors: Sequence[float]) -> float:
        """Return the mean loss of these errors under the score, one a draw."""
        return float(self._score(np.asarray(errors)[:, None]).mean())

    def _ordered(self, losses: estimators.Table) -> tuple[int, NDArray[np.int64], NDArray[np.float64]]:
        """Return the leader, all labels in order, and their means."""
        means = np.nanmean(losses, axis=0)
        order = np.lexsort((self._ties, means, -self._dropped_at))
        return estimators.leader_of(losses, self.alive, self._ties), order, means

    def _losses(self) -> estimators.Table:
        return self._score(self._errors)

    def _contenders(self, losses: estimators.Table, leader: int) -> estimators.Mask:
        """Return the labels not told apart from the leader; schedules without a test get the race's."""
        if self._keep in (estimators.race, estimators.ttest):
            return self.alive
        return estimators.race(losses, self.alive, leader, self.rules.confidence, self._floor)

    def _gaps(self, losses: estimators.Table, leader: int) -> tuple[estimators.Table, ...]:
        """Return how far each label is behind, the standard errors, and the half-widths of the intervals."""
        means, spread, counts = estimators.paired(losses, leader, self._floor)
        alpha = estimators.share(self.rules.confidence, len(self.labels))
        return means, estimators.error_of(spread, counts), estimators.radius(spread, counts, alpha)


def _between(second: RankedLabel) -> tuple[float, tuple[float, float] | None]:
    """Return the gap to the second label, with its interval."""
    gap, width = second.behind, second.radius
    return gap, None if width is None else (gap - width, gap + width)
