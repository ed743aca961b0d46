"""Where a turn's time goes: inside the network, and there on compression's own overhead.

Waits for the device at each mark, so a watched turn is never a timed one. Marks are plain hooks, gone afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from bigain_cli.benchmark.machine import wait
from bigain_cli.compress.selection import Work


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
    networks: Sequence[nn.Module], works: Sequence[Work], device: torch.device
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


def _parts(work: Work) -> list[nn.Module]:
    """Return the modules that may have a compression's hooks."""
    block = work.site.block
    return [part for part in (block, block.attn1, block.attn2, block.ff) if part is not None]
