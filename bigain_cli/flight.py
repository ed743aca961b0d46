"""One picture on its way through a contest: asks for its next evaluations and takes their errors.

Prompts become labels here: a label's error in a draw is the mean over its prompts. With a tally, the empty prompt
flies along, first in every draw, and changes nothing else. Must not know networks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from bigain_cli.contest import Contest
from bigain_cli.draws import Draws
from bigain_cli.evidence import Exhibit
from bigain_cli.residuals import Job
from bigain_cli.tally import Tally


@dataclass(frozen=True)
class Empty:
    """The empty prompt: its number, and the arm that it is, if it is one; that arm is the last."""

    prompt: int
    arm: int | None


@dataclass
class Flight:
    """A picture, its draws and its contest; `place` is its place in the output."""

    place: int
    id: str
    latent: Tensor  # [c h w]
    draws: Draws
    contest: Contest
    started: float  # time.monotonic() when the picture was taken in
    view: Image | None = None  # the picture as the model sees it, where it is to be shown
    empty: Empty | None = None  # where there are to be maps
    tally: Tally = field(default_factory=Tally)

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
        if self.empty is not None:
            prompts = [self.empty.prompt, *(prompt for prompt in prompts if prompt != self.empty.prompt)]
        return Job(self.latent, block, prompts)

    def of_labels(self, errors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the errors that the contest is about: without those of an empty prompt that only flies along."""
        if self.empty is None:
            return errors
        racing = self.empty.arm is not None and self.contest.alive[self.empty.arm]
        return np.column_stack([errors[:, 1:], errors[:, 0]]) if racing else errors[:, 1:]

    def take(self, errors: NDArray[np.float32], sums: NDArray[np.float32] | None = None) -> None:
        """Enter a block's errors [draws prompts], and their maps [prompts h w], into the contest."""
        alive = np.flatnonzero(self.contest.alive)
        if self.empty is not None and sums is not None:
            sums = np.concatenate([sums, sums[:1]])  # the empty prompt is the last arm, too, if it is one
            self.tally.add(sums, errors[:, 0], [int(arm) for arm in alive], self.contest.costs[alive])
        errors = self.of_labels(errors)
        ends = np.cumsum(self.contest.costs[alive])
        table = np.full((len(errors), len(self.contest.alive)), np.nan)
        for arm, end in zip(alive, ends, strict=True):
            table[:, arm] = errors[:, end - self.contest.costs[arm] : end].mean(axis=1, dtype=np.float64)
        self.contest.record(table)

    def restart(self, contest: Contest) -> None:
        """Forget all draws."""
        self.contest, self.tally = contest, Tally()

    def exhibit(self) -> Exhibit | None:
        """Return what there is to look at."""
        if self.view is None:
            return None
        empty = self.empty
        return Exhibit(self.view, self.tally.evidence(self.contest, empty.arm) if empty is not None else ())

    def over(self, deadline: float | None) -> bool:
        """Tell whether there is nothing more to do, or no more time to do it in."""
        return self.contest.next_draws() == 0 or (deadline is not None and self.seconds() >= deadline)

    def seconds(self) -> float:
        """Time since the picture was taken in."""
        return time.monotonic() - self.started


def finite(errors: Sequence[NDArray[np.float32]]) -> bool:
    """Tell whether every error is a number."""
    return all(bool(np.isfinite(part).all()) for part in errors)
