"""One picture's maps, added up over its contest: for the labels in the race and for the empty prompt beside it.

In: blocks of sums; out: an Exhibit's evidence. The first two labels of a contest always share all of its draws: it
ends with the block in which the last rival drops out. Must not know networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bigain_cli.contest import Contest
from bigain_cli.evidence import Evidence

Map = NDArray[np.float64]  # [h w]


class Tally:
    """Running sums, of float64; labels that have left the race are forgotten."""

    def __init__(self) -> None:
        self._sums: dict[int, Map] = {}
        self._empty: Map = np.zeros(())
        self._errors: list[float] = []  # of the empty prompt

    def add(self, sums: NDArray[np.float32], errors: NDArray[np.float32], arms: Sequence[int], costs: Map) -> None:
        """Take a block: the empty prompt first, then the prompts of each arm."""  # [prompts h w], [draws]
        self._empty = self._empty + sums[0]
        self._errors += errors.tolist()
        ends = 1 + np.cumsum(costs)
        self._sums = {
            arm: self._sums.get(arm, 0.0) + sums[end - cost : end].mean(axis=0, dtype=np.float64)
            for arm, end, cost in zip(arms, ends, costs, strict=True)
        }

    def evidence(self, contest: Contest, empty: int | None) -> tuple[Evidence, ...]:
        """Hold the winner against the runner-up and against the empty prompt, which may be an arm itself."""
        winner, second, gap = contest.front()
        found = []
        if second is not None:
            name = None if second == empty else contest.labels[second]
            found.append(self._held(contest, name, self._sums[second], self._sums[winner], gap))
        if empty is None or empty not in (winner, second):
            gap = contest.mean_loss(self._errors) - contest.mean_loss_of(winner)
            found.append(self._held(contest, None, self._empty, self._sums[winner], gap))
        return tuple(each for each in found if np.isfinite(each.map).all())  # what overflowed cannot be shown

    def _held(self, contest: Contest, against: str | None, loser: Map, winner: Map, gap: float) -> Evidence:
        shares = (loser - winner) / contest.draws
        if contest.additive:
            return Evidence(against, gap, contest.draws, shares)
        remainder = gap - float(shares.sum())
        return Evidence(against, gap, contest.draws, shares + remainder / shares.size, remainder)
