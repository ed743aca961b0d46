"""Taking turns: every spec once a round, in the same order, so that whatever else happens meets all alike.

In: candidates and the one job that each does in a turn; out: seconds, and what watched turns find out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from bigain_cli.benchmark.candidates import Candidate
from bigain_cli.benchmark.figures import Watched
from bigain_cli.benchmark.machine import forget_peak, peak_memory, product_speed, wait
from bigain_cli.benchmark.task import Task
from bigain_cli.benchmark.watch import watched
from bigain_cli.errors import BigainError

Step = Callable[[int, int], None]


class Turns:
    """Lets candidates take turns, and tells `step` of each."""

    def __init__(self, contest: Sequence[Candidate], task: Task, step: Step, of: int) -> None:
        self._contest, self._job = contest, task.job
        self._device, self._dtype = task.backbone.device, task.backbone.dtype
        self._step, self._done, self._of = step, 0, of

    def warm_up(self, rounds: int) -> None:
        """Go round untimed; find out what cannot be timed at all."""
        for _ in range(rounds):
            for each in self._contest:
                wanted = each.residuals.batch
                errors = each.residuals([self._job])[0]
                if each.residuals.batch != wanted:
                    hint = f"Try --batch {wanted // 2}, a smaller --size, or --dtype bfloat16."
                    raise BigainError("out of memory", f"a batch of {wanted} does not fit with {each.spec}", hint)
                if not np.isfinite(errors).all():
                    why = f"the network returned no numbers (NaN or infinity) with {each.spec}"
                    raise BigainError("benchmark", why, "Try --dtype bfloat16 or float32.")
                self._tell()

    def timed(self, rounds: int) -> tuple[list[tuple[float, ...]], float, float]:
        """Return each candidate's seconds, round by round, the machine's peak and the seconds that finding it took.

        The peak has its turns as well, and meets what the candidates meet.
        """
        table, peaks, aside = [], [], 0.0
        for _ in range(rounds):
            table.append([self._seconds(each) for each in self._contest])
            started = time.perf_counter()
            peaks.append(product_speed(self._device, self._dtype))
            aside += time.perf_counter() - started
        return list(zip(*table, strict=True)), max(peaks), aside

    def watched(self) -> list[Watched]:
        """Go round once more and look closely."""
        return [self._watched(each) for each in self._contest]

    def _seconds(self, each: Candidate) -> float:
        wait(self._device)
        started = time.perf_counter()
        each.residuals([self._job])  # its errors arrive on the host: nothing is still under way
        seconds = time.perf_counter() - started
        self._tell()
        return seconds

    def _watched(self, each: Candidate) -> Watched:
        forget_peak(self._device)
        if not each.networks:
            self._seconds(each)
            return Watched(None, None, None, peak_memory(self._device))
        with watched(each.networks, each.works, self._device) as (inside, bookkeeping):
            whole = self._seconds(each)
        spent = bookkeeping.total if each.works else None if each.spec else 0.0
        return Watched(inside.total, whole - inside.total, spent, peak_memory(self._device))

    def _tell(self) -> None:
        self._done += 1
        self._step(self._done, self._of)
