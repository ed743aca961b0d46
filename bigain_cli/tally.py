"""One image's maps, added up over its draws: for the labels in the race and for the empty prompt.

In: blocks of sums; out: evidence maps. The first two labels always share all draws: elimination
ends with the block in which the last rival drops out. Must not know networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification.elimination import Contest
from bigain_cli.evidence import Evidence

Map = NDArray[np.float64]  # [h w]


class Tally:
    """Running sums in float64; those of dropped labels are dropped."""

    def __init__(self) -> None:
        self._sums: dict[int, Map] = {}
        self._empty: Map = np.zeros(())
        self._errors: list[float] = []  # of the empty prompt

    def add(self, sums: NDArray[np.float32], errors: NDArray[np.float32], labels: Sequence[int], costs: Map) -> None:
        """Take a block: the empty prompt first, then the prompts of each label."""  # [prompts h w], [draws]
        self._empty = self._empty + sums[0]
        self._errors += errors.tolist()
        ends = 1 + np.cumsum(costs)
        self._sums = {
            label: self._sums.get(label, 0.0) + sums[end - cost : end].mean(axis=0, dtype=np.float64)
            for label, end, cost in zip(labels, ends, costs, strict=True)
        }

    def evidence(self, elimination: Contest, empty: int | None) -> tuple[Evidence, ...]:
        """Compare the winner with the runner-up and with the empty prompt, which may be a label itself."""
        winner, second, gap = elimination.first_two()
        found = []
        if second is not None:
            name = None if second == empty else elimination.labels[second]
            found.append(self._compared(elimination, name, self._sums[second], self._sums[winner], gap))
        if empty is None or empty not in (winner, second):
            gap = elimination.mean_loss(self._errors) - elimination.mean_loss_of(winner)
            found.append(self._compared(elimination, None, self._empty, self._sums[winner], gap))
        return tuple(each for each in found if np.isfinite(each.map).all())  # a map that overflowed shows nothing

    def _compared(self, elimination: Contest, against: str | None, loser: Map, winner: Map, gap: float) -> Evidence:
        shares = (loser - winner) / elimination.draws
        if elimination.additive:
            return Evidence(against, gap, elimination.draws, shares)
        remainder = gap - float(shares.sum())
        return Evidence(against, gap, elimination.draws, shares + remainder / shares.size, remainder)
