"""One picture on its way through a contest: asks for its next evaluations and takes their errors.

Prompts become labels here: a label's error in a draw is the mean over its prompts. Must not know networks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bigain_cli.contest import Contest
from bigain_cli.draws import Draws
from bigain_cli.residuals import Job


@dataclass
class Flight:
    """A picture, its draws and its contest; `place` is its place in the output."""

    place: int
    id: str
    latent: Tensor  # [c h w]
    draws: Draws
    contest: Contest
    started: float  # time.monotonic() when the picture was taken in

    @property
    def pending(self) -> int:
        """Evaluations in the next block."""
        return self.contest.next_draws() * self.contest.cost

    def job(self) -> Job:
        """Return the next block's work."""
        block = self.draws.block(self.contest.draws, self.contest.next_draws())
        ends = np.cumsum(self.contest.costs)
        prompts = [
            prompt
            for arm in np.flatnonzero(self.contest.alive)
            for prompt in range(ends[arm] - self.contest.costs[arm], ends[arm])
        ]
        return Job(self.latent, block, prompts)

    def take(self, errors: NDArray[np.float32]) -> None:
        """Enter a block's errors [draws prompts] into the contest."""
        alive = np.flatnonzero(self.contest.alive)
        ends = np.cumsum(self.contest.costs[alive])
        table = np.full((len(errors), len(self.contest.alive)), np.nan)
        for arm, end in zip(alive, ends, strict=True):
            table[:, arm] = errors[:, end - self.contest.costs[arm] : end].mean(axis=1, dtype=np.float64)
        self.contest.record(table)

    def over(self, deadline: float | None) -> bool:
        """Tell whether there is nothing more to do, or no more time to do it in."""
        return self.contest.next_draws() == 0 or (deadline is not None and self.seconds() >= deadline)

    def seconds(self) -> float:
        """Time since the picture was taken in."""
        return time.monotonic() - self.started


def finite(errors: Sequence[NDArray[np.float32]]) -> bool:
    """Tell whether every error is a number."""
    return all(bool(np.isfinite(part).all()) for part in errors)
