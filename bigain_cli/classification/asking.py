"""The first draws of one image, round by round: which labels are asked on them, until the race begins.

In: errors of the labels asked; out: the next labels, and the table of all that were asked. Without a shortlist there is
one round, of all labels. Must not know networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification.confidence import GapRules
from bigain_cli.classification.label_search import LabelSearch
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.classification.tuned_losses import tuned_losses
from bigain_cli.registry import DEFAULT_SCORE, SCHEDULES, SCORES, attribute

Table = NDArray[np.float64]  # [draws labels]


class Asking:
    """The rounds of one image; `labels` are those of the round that comes, none once the race may begin."""

    def __init__(
        self,
        search: LabelSearch,
        names: Sequence[str],
        costs: Sequence[int],
        rules: StoppingRules,
        plans: int,
        at_once: bool,
    ) -> None:
        """Take the prompts of each label, the passes of a draw that belong to no label, and if all labels are asked."""
        self._search, self._costs, self._rules, self._plans = search, np.asarray(costs), rules, plans
        self._names = names
        self.evaluations = self.passes = 0
        first = search.first()
        self.draws = self._first_draws(first, at_once)
        self.table = np.full((self.draws, len(costs)), np.nan)
        self.labels = self._within_budget(first)
        score = SCORES[rules.score or DEFAULT_SCORE]  # votes of few draws tell too little apart
        self._losses = attribute((SCORES[DEFAULT_SCORE] if score.bounded else score).losses)

    @property
    def asked(self) -> list[int]:
        """The numbers of all labels that were asked."""
        return [int(label) for label in np.flatnonzero(~np.isnan(self.table).all(axis=0))]

    @property
    def cost(self) -> int:
        """The evaluations of the round that comes."""
        return self._cost_of(self.labels) if self.labels else 0

    def add(self, errors: Table, times: NDArray[np.float64]) -> None:
        """Add a round's errors, one column for each of its labels."""
        self.evaluations, self.passes = self.evaluations + self.cost, self.passes + self.draws
        self.table[:, self.labels] = errors
        rules = GapRules(self._rules.confidence, self._rules.least, times=times)
        self.labels = self._within_budget(self._search.next(self._judged(times), rules))

    def left_out(self, probabilities: NDArray[np.float64]) -> float:
        """Return the probability that it is a label that was not asked, from those of the asked, which sum to one."""
        weights = np.full(self.table.shape[1], np.nan)
        weights[self.asked] = probabilities
        outside = self._search.outside(weights)
        return outside / (1 + outside)

    def _judged(self, times: NDArray[np.float64]) -> Table:
        """Return the losses as the race judges them: a profile counts in the search, too."""
        losses: Table = self._losses(self.table)
        profile = self._rules.profile
        return losses if profile is None else tuned_losses(losses, times, self._names, profile)

    def _first_draws(self, labels: Sequence[int], at_once: bool) -> int:
        """Return how many draws the rounds share: a block of the schedule, and no more than the budget holds."""
        schedule = SCHEDULES[self._rules.schedule]
        if at_once and self._rules.deadline is not None:
            return 1  # so that the time is checked after every draw
        block = min(len(schedule.staged[0]) if schedule.staged else schedule.block, self._rules.most_draws)
        if self._rules.budget is None:
            return block
        each = int(self._costs[list(labels)].sum()) + self._plans
        return max(1, min(block, self._rules.budget // each))

    def _within_budget(self, labels: list[int]) -> list[int]:
        """Return the labels of a round that the budget has room for, in the same order."""
        budget = self._rules.budget
        if budget is None:
            return labels
        taken = self._search.by_importance(labels)
        while taken and self.evaluations + self._cost_of(taken) > budget:
            taken.pop()
        room = set(taken)
        return [label for label in labels if label in room]

    def _cost_of(self, labels: Sequence[int]) -> int:
        return self.draws * (int(self._costs[list(labels)].sum()) + self._plans)
