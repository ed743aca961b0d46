"""Time networks in rounds: every spec once a round, in the same order, so that other load meets all alike.

In: timed networks and the work of a turn; out: seconds, and a profile of each. A profiled turn waits for the device at
each mark, so it is never a timed one; its marks are plain hooks, gone afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from bigain_cli.benchmark.machine import forget_peak, peak_memory, product_speed, wait
from bigain_cli.benchmark.results import Profile
from bigain_cli.benchmark.timed_network import TimedNetwork, Workload
from bigain_cli.compress.sites import Assignment
from bigain_cli.errors import BigainError


class Clock:
    """Adds up the seconds between its marks."""

    def __init__(self, device: torch.device) -> None:
        self.total, self._since, self._device = 0.0, 0.0, device
        self.runs = False

    def start(self, *_: Any) -> None:
        """Start, or start again."""
        wait(self._device)
        self._since, self.runs = time.perf_counter(), True

    def stop(self, *_: Any) -> None:
        """Stop, if it runs."""
        if self.runs:
            wait(self._device)
            self.total += time.perf_counter() - self._since
            self.runs = False


@contextmanager
def watched(
    networks: Sequence[nn.Module], works: Sequence[Assignment], device: torch.device
) -> Iterator[tuple[Clock, Clock]]:
    """Lend two clocks: of the networks, and of the compression's hooks before and behind the parts they touch."""
    inside, overhead = Clock(device), Clock(device)

    def leave(*_: Any) -> None:
        overhead.stop()  # a pass that ends once all plans are made ends in the middle of one
        inside.stop()

    handles = [network.register_forward_pre_hook(inside.start, prepend=True) for network in networks]
    for part in {id(part): part for work in works for part in _parts(work)}.values():
        handles += [
            part.register_forward_pre_hook(overhead.start, prepend=True),
            part.register_forward_pre_hook(overhead.stop),
            part.register_forward_hook(overhead.start, prepend=True),
            part.register_forward_hook(overhead.stop),
        ]
    handles += [network.register_forward_hook(leave, always_call=True) for network in networks]
    try:
        yield inside, overhead
    finally:
        for handle in handles:
            handle.remove()


def _parts(work: Assignment) -> list[nn.Module]:
    """Return the modules that may have a compression's hooks."""
    block = work.site.block
    return [part for part in (block, block.attn1, block.attn2, block.ff) if part is not None]


Step = Callable[[int, int], None]


class Rounds:
    """Runs the rounds, and calls `step` after every turn."""

    def __init__(self, networks: Sequence[TimedNetwork], task: Workload, step: Step, of: int) -> None:
        self._networks, self._job = networks, task.job
        self._device, self._dtype = task.backbone.device, task.backbone.dtype
        self._step, self._done, self._of = step, 0, of

    def warm_up(self, rounds: int) -> None:
        """Run rounds untimed; refuse what cannot be timed at all."""
        for _ in range(rounds):
            for each in self._networks:
                wanted = each.denoising.batch
                errors = each.denoising([self._job])[0]
                if each.denoising.batch != wanted:
                    hint = f"Try --batch {wanted // 2}, a smaller --size, or --dtype bfloat16."
                    raise BigainError("out of memory", f"a batch of {wanted} does not fit with {each.spec}", hint)
                if not np.isfinite(errors).all():
                    why = f"the network returned no numbers (NaN or infinity) with {each.spec}"
                    raise BigainError("benchmark", why, "Try --dtype bfloat16 or float32.")
                self._report()

    def timed(self, rounds: int) -> tuple[list[tuple[float, ...]], float, float]:
        """Return each network's seconds, round by round, the machine's peak and the seconds that finding it took.

        The peak has its turns as well, and meets the same load as the networks.
        """
        table, peaks, aside = [], [], 0.0
        for _ in range(rounds):
            table.append([self._seconds(each) for each in self._networks])
            started = time.perf_counter()
            peaks.append(product_speed(self._device, self._dtype))
            aside += time.perf_counter() - started
        return list(zip(*table, strict=True)), max(peaks), aside

    def profiles(self) -> list[Profile]:
        """Run one more round, and profile it."""
        return [self._profile(each) for each in self._networks]

    def _seconds(self, each: TimedNetwork) -> float:
        wait(self._device)
        started = time.perf_counter()
        each.denoising([self._job])  # its errors arrive on the host: nothing is still running
        seconds = time.perf_counter() - started
        self._report()
        return seconds

    def _profile(self, each: TimedNetwork) -> Profile:
        forget_peak(self._device)
        if not each.networks:
            self._seconds(each)
            return Profile(None, None, None, peak_memory(self._device))
        with watched(each.networks, each.works, self._device) as (inside, overhead):
            whole = self._seconds(each)
        spent = overhead.total if each.works else None if each.spec else 0.0
        return Profile(inside.total, whole - inside.total, spent, peak_memory(self._device))

    def _report(self) -> None:
        self._done += 1
        self._step(self._done, self._of)
