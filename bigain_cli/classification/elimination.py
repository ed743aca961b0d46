"""Successive elimination of labels for one image: how many draws come next, for which labels, and how labels rank.

In: blocks of errors; out: the next block's size, the remaining labels, a Ranking.
Keeps the whole error table. Must not know images or networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification import estimators
from bigain_cli.classification.confidence import GapRules, half_widths, paired_gaps
from bigain_cli.classification.ranking import RankedLabel, Ranking
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.classification.tuned_losses import tuned_losses
from bigain_cli.registry import DEFAULT_SCORE, SCHEDULES, SCORES, attribute


class Elimination:
    """Drops labels over shared draws, block by block; `remaining` are those that were not dropped."""

    def __init__(
        self,
        labels: Sequence[str],
        costs: Sequence[int],
        rules: StoppingRules,
        temperature: float | None = None,
        plan_evaluations: int = 0,
    ) -> None:
        self.labels, self.rules, self.temperature = labels, rules, temperature
        self.plan_evaluations = plan_evaluations  # evaluations of each draw that belong to no label
        self.costs = np.asarray(costs)  # prompts of each label: evaluations per draw
        self.schedule = SCHEDULES[rules.schedule]
        self._keep = attribute(self.schedule.keep)
        score = SCORES[rules.score or DEFAULT_SCORE]
        self._score, self.additive = attribute(score.losses), score.additive
        self._ties = np.argsort(np.argsort(np.asarray(labels, dtype=object)))
        self._gap_rules = GapRules(rules.confidence, rules.least, score.floor, score.bounded, ties=self._ties)
        self._errors = np.empty((0, len(labels)))
        self._dropped_at = np.full(len(labels), np.iinfo(np.int64).max)  # draws at which a label was dropped
        self.remaining = np.ones(len(labels), dtype=bool)
        self.evaluations = 0

    @property
    def draws(self) -> int:
        """The number of draws so far."""
        return len(self._errors)

    @property
    def cost(self) -> int:
        """The evaluations of the next draw."""
        return int(self.costs[self.remaining].sum()) + self.plan_evaluations

    def next_draws(self) -> int:
        """Return the size of the next block: 0 when one label is left or the limits are reached."""
        if self.remaining.sum() < 2 and len(self.labels) > 1:
            return 0
        count = min(self._block(), self.rules.most_draws - self.draws)
        if self.rules.budget is not None:
            count = min(count, (self.rules.budget - self.evaluations) // self.cost)
        return max(count, 0)

    def _block(self) -> int:
        if self.rules.deadline is not None:
            return 1  # so that the time is checked after every draw
        if not self.schedule.staged:
            return self.schedule.block
        ends = np.cumsum([len(stage) for stage in self.schedule.staged])
        return next((int(end) - self.draws for end in ends if end > self.draws), 0)

    def add_errors(
        self,
        errors: NDArray[np.float64],
        times: NDArray[np.float64] | None = None,
        evaluations: int | None = None,
    ) -> None:
        """Add a block of errors (NaN for dropped labels), and drop the labels that cannot win.

        The draws' times lie between 0 and 1; without them, they are those of van der Corput's order. A block usually
        takes as many `evaluations` as the labels cost.
        """  # [draws labels], [draws]
        self._errors = np.concatenate([self._errors, errors])
        if times is not None:
            before = self._gap_rules.times_of(self.draws - len(errors))
            self._gap_rules = replace(self._gap_rules, times=np.concatenate([before, times]))
        self.evaluations += len(errors) * self.cost if evaluations is None else evaluations
        losses = self._losses()
        leader = estimators.leader_of(losses, self.remaining, self._ties)
        kept = self._keep(losses, self.remaining, leader, self._gap_rules)
        self._dropped_at[self.remaining & ~kept] = self.draws
        self.remaining = kept

    def ranking(self, id: str, settings: dict[str, Any], seconds: float | None, finished: bool) -> Ranking:
        """Rank the remaining labels, then those dropped last, then the others, each by their gap to the leader.

        Probabilities and scores never contradict this order. The score of a dropped label, which has fewer draws, is
        the leader's minus the gap between the two, and at most that of the label before it.
        """
        losses = self._losses()
        leader, order = self._ordered(losses)
        contenders = self._contenders(losses, leader)
        probabilities = estimators.probabilities(losses, leader, self.temperature, self._gap_rules)
        counts = (~np.isnan(losses)).sum(axis=0)
        gaps, errors, half_widths = self._gaps(losses, leader)
        ranked = tuple(
            RankedLabel(
                self.labels[k],
                float(probability),
                float(score),
                int(counts[k]),
                bool(contenders[k]),
                float(gaps[k]),
                float(errors[k]),
                float(half_widths[k]) if np.isfinite(half_widths[k]) else None,
            )
            for k, probability, score in zip(
                order,
                estimators.never_rising(probabilities[order]),
                -losses[:, leader].mean() - np.maximum.accumulate(gaps[order]),
                strict=True,
            )
        )
        gap = ranked[1].gap if len(ranked) > 1 else None
        half_width = ranked[1].half_width if len(ranked) > 1 else None
        return Ranking(
            id=id,
            ranked=ranked,
            settled=bool(contenders.sum() == 1),
            gap=gap,
            gap_interval=None if gap is None or half_width is None else (gap - half_width, gap + half_width),
            draws=self.draws,
            evaluations=self.evaluations,
            finished=finished,
            seconds=seconds,
            settings=settings,
        )

    def first_two(self) -> tuple[int, int | None, float]:
        """Return the leader, the runner-up, and the gap between them; they share all draws."""
        losses = self._losses()
        leader, order = self._ordered(losses)
        if len(order) < 2:
            return leader, None, 0.0
        second = int(order[1])
        assert not np.isnan(losses[:, [leader, second]]).any()
        return leader, second, float(self._gaps(losses, leader)[0][second])

    def mean_loss_of(self, label: int) -> float:
        """Return a label's mean loss under the score."""
        return float(np.nanmean(self._losses()[:, label]))

    def mean_loss(self, errors: Sequence[float]) -> float:
        """Return the mean loss of these errors, one for each draw, under the score."""
        return float(self._score(np.asarray(errors)[:, None]).mean())

    def _ordered(self, losses: estimators.Table) -> tuple[int, NDArray[np.int64]]:
        """Return the leader, and all labels in order; the first two have every draw."""
        leader = estimators.leader_of(losses, self.remaining, self._ties)
        gaps = paired_gaps(losses, leader, self._gap_rules).means
        dropped = np.where(self.remaining, 0, np.where(self._dropped_at == self.draws, 1, 2))
        return leader, np.lexsort((self._ties, gaps, dropped))

    def _losses(self) -> estimators.Table:
        losses: estimators.Table = self._score(self._errors)
        if self.rules.profile is None:
            return losses
        return tuned_losses(losses, self._gap_rules.times_of(self.draws), self.labels, self.rules.profile)

    def _contenders(self, losses: estimators.Table, leader: int) -> estimators.Mask:
        """Return the labels that do not differ significantly from the leader; without a test, by the race."""
        if self._keep in (estimators.race, estimators.ttest):
            return self.remaining
        return estimators.contenders(losses, self.remaining, leader, self._gap_rules)

    def _gaps(self, losses: estimators.Table, leader: int) -> tuple[estimators.Table, ...]:
        """Return each label's gap to the leader, its standard error, and half the width of its interval."""
        gaps = paired_gaps(losses, leader, self._gap_rules)
        return gaps.means, gaps.errors, half_widths(losses, leader, self._gap_rules)
