"""The CPU threads of the command: how many, and how they wait.

Both are set in the environment, which OpenMP and MKL read once, when torch is loaded. Must not import torch.
"""

from __future__ import annotations

import os

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # any of them says how threads wait
PASSIVE = {"OMP_WAIT_POLICY": "passive"}


def sleep_while_waiting() -> None:
    """Let threads sleep while they wait for others, not spin, unless the user chose: others may need the core."""
    if not any(name in os.environ for name in WAITING):
        os.environ.update(PASSIVE)


def use_threads(count: int | None) -> int | None:
    """Compute with so many threads, also where MKL would choose fewer; None leaves the number as it is."""
    if count is not None:
        os.environ.update({"OMP_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count), "MKL_DYNAMIC": "FALSE"})
    return count


def share_threads(workers: int) -> None:
    """Let several processes share the cores, unless the user chose a number of threads."""
    if workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        use_threads(max(1, (os.cpu_count() or 1) // workers))
