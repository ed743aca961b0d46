"""Time the command on an idle machine and beside one busy loop per core, with threads that sleep or spin as they wait.

    python tools/benchmark_busy_machine.py [IMAGE...] [--model mini] [--labels cifar10] [--rounds 5]

The command's threads sleep; spinning is what the OpenMP libraries do by themselves. The machine must do nothing else.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark_first_answer import some_image

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SPINNING = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}  # the libraries' own defaults
CHOICES = {"sleeping": {}, "spinning": SPINNING}


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Run so many processes that do nothing but compute."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def seconds(command: list[str], waiting: dict[str, str]) -> float:
    """Return the seconds of a whole run."""
    ignored = ("OMP_WAIT_POLICY", "PYTHONDONTWRITEBYTECODE", *SPINNING)
    environment = {name: value for name, value in os.environ.items() if name not in ignored}
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment | waiting)
    return time.perf_counter() - started


def measure(command: list[str], rounds: int) -> dict[tuple[str, int], list[float]]:
    """Return the seconds of each round, by how threads wait and by the number of busy loops."""
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for loops in (0, CORES):
            for name, waiting in CHOICES.items():
                with busy_loops(loops):
                    found.setdefault((name, loops), []).append(seconds(command, waiting))
    return found


def main() -> None:
    """Print the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--labels", default="cifar10")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        images = asked.images or [some_image(Path(folder))]
        command = [sys.executable, "-m", "bigain_cli", "classify", *images, "-m", asked.model, "-l", asked.labels]
        seconds(command, {})  # files are in the system's cache from now on, and modules are compiled
        found = measure(command, asked.rounds)
    medians = {key: statistics.median(values) for key, values in found.items()}
    print(f"{f'medians of {asked.rounds} rounds, {CORES} cores':34}{'idle, s':>10}{'busy, s':>10}{'busy/idle':>11}")
    for name in CHOICES:
        idle, busy = medians[name, 0], medians[name, CORES]
        print(f"{'threads wait ' + name:34}{idle:10.2f}{busy:10.2f}{busy / idle:11.2f}")
    ratios = [sleeping / spinning for sleeping, spinning in zip(*(found[name, 0] for name in CHOICES), strict=True)]
    print(f"{'sleeping / spinning, when idle':34}{statistics.median(ratios):10.3f}")


if __name__ == "__main__":
    main()
