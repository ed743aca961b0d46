"""Time networks in rounds: every spec once a round, in the same order, so that other load affects all alike.

In: timed networks and the work of a turn; out: seconds, and a profile of each. A profiled turn waits for the device at
each of its hooks, so it is never a timed one; the hooks are removed afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from bigain_cli.benchmark.machine import peak_memory, product_speed, reset_peak_memory, synchronize
from bigain_cli.benchmark.results import Profile
from bigain_cli.benchmark.timed_network import TimedNetwork, Workload
from bigain_cli.compress.assignment import Assignment
from bigain_cli.errors import BigainError


class Clock:
    """Adds up the seconds between its starts and stops."""

    def __init__(self, device: torch.device) -> None:
        self.total, self._since, self._device = 0.0, 0.0, device
        self._running = False

    def start(self, *_: Any) -> None:
        """Start, or start again."""
        synchronize(self._device)
        self._since, self._running = time.perf_counter(), True

    def stop(self, *_: Any) -> None:
        """Stop, if it is running."""
        if self._running:
            synchronize(self._device)
            self.total += time.perf_counter() - self._since
            self._running = False


@contextmanager
def profiled(
    networks: Sequence[nn.Module], assignments: Sequence[Assignment], device: torch.device
) -> Iterator[tuple[Clock, Clock]]:
    """Yield two clocks: of the networks, and of the compression's hooks on the modules that they act on."""
    inside, overhead = Clock(device), Clock(device)

    def end_forward(*_: Any) -> None:
        overhead.stop()  # a forward that stops once all plans are made stops inside a hook
        inside.stop()

    handles = [network.register_forward_pre_hook(inside.start, prepend=True) for network in networks]
    sites = [assignment.site for assignment in assignments]
    parts = [part for site in sites for part in (site.block, *site.kind.parts(site.block))]
    for part in parts:
        handles += [
            part.register_forward_pre_hook(overhead.start, prepend=True),
            part.register_forward_pre_hook(overhead.stop),
            part.register_forward_hook(overhead.start, prepend=True),
            part.register_forward_hook(overhead.stop),
        ]
    handles += [network.register_forward_hook(end_forward, always_call=True) for network in networks]
    try:
        yield inside, overhead
    finally:
        for handle in handles:
            handle.remove()


Step = Callable[[int, int], None]


class Rounds:
    """Runs the rounds, and calls `step` after every turn."""

    def __init__(self, networks: Sequence[TimedNetwork], workload: Workload, step: Step, total: int) -> None:
        self._networks, self._job = networks, workload.job
        self._device, self._dtype = workload.backbone.device, workload.backbone.dtype
        self._step, self._done, self._total = step, 0, total

    def warm_up(self, rounds: int) -> None:
        """Run untimed rounds; refuse networks that run out of memory or return no numbers."""
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
                self._count_turn()

    def timed(self, rounds: int) -> tuple[list[tuple[float, ...]], float, float]:
        """Return each network's seconds, round by round, the machine's peak and the seconds that finding it took.

        The peak is measured in every round, under the same load as the networks.
        """
        seconds, peaks, peak_seconds = [], [], 0.0
        for _ in range(rounds):
            seconds.append([self._seconds(each) for each in self._networks])
            started = time.perf_counter()
            peaks.append(product_speed(self._device, self._dtype))
            peak_seconds += time.perf_counter() - started
        return list(zip(*seconds, strict=True)), max(peaks), peak_seconds

    def profiles(self) -> list[Profile]:
        """Run one more round, and profile it."""
        return [self._profile(each) for each in self._networks]

    def _seconds(self, each: TimedNetwork) -> float:
        synchronize(self._device)
        started = time.perf_counter()
        each.denoising([self._job])  # its errors arrive on the host: nothing is still running
        seconds = time.perf_counter() - started
        self._count_turn()
        return seconds

    def _profile(self, each: TimedNetwork) -> Profile:
        reset_peak_memory(self._device)
        if not each.networks:
            self._seconds(each)
            return Profile(None, None, None, peak_memory(self._device))
        with profiled(each.networks, each.assignments, self._device) as (inside, overhead):
            whole = self._seconds(each)
        spent = overhead.total if each.assignments else None if each.spec else 0.0
        return Profile(inside.total, whole - inside.total, spent, peak_memory(self._device))

    def _count_turn(self) -> None:
        self._done += 1
        self._step(self._done, self._total)
