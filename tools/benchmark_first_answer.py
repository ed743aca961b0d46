"""Time a first answer beside `import torch`: everything but the evaluations, by the clock and in seconds of the CPU.

    python tools/benchmark_first_answer.py [IMAGE] [--model mini] [--labels cifar10] [--rounds 7]

Each round runs `python -c "import torch"`, the command, and the image's evaluations alone (in this process, which has
done them before); medians of all rounds are printed. The clock needs a machine that does nothing else; seconds of the
CPU with OMP_NUM_THREADS=1 bear company better.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple


class Seconds(NamedTuple):
    """By the clock, and of the CPU on all cores."""

    clock: float
    cpu: float


def timed(work: Callable[[], Any]) -> Seconds:
    """Return the seconds that something takes, in this process and those that it starts and waits for."""
    started, before = time.perf_counter(), sum(os.times()[:4])
    work()
    return Seconds(time.perf_counter() - started, sum(os.times()[:4]) - before)


def process(*arguments: str) -> Callable[[], Any]:
    """Return a run of Python, with compiled modules, as installed ones are."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, *arguments]
    return lambda: subprocess.run(command, check=True, capture_output=True, env=environment)


def evaluations(image: str, model: str, labels: str) -> Callable[[], Any]:
    """Return the work of ranking the labels for the image, once everything is loaded."""
    import bigain_cli as bigain
    from bigain_cli.classification.classifier import Classification
    from bigain_cli.images import Source, read

    run, pixels = Classification(bigain.load(model), labels), read(Source(image, path=image))
    return lambda: list(run.rankings([(image, pixels)]))


def measure(image: str, model: str, labels: str, rounds: int) -> dict[str, Seconds]:
    """Return the medians of the three, and of each round's first answer without evaluations over `import torch`."""
    work = {
        "import torch, seconds": process("-c", "import torch"),
        "the command, seconds": process("-m", "bigain_cli", "classify", image, "-m", model, "-l", labels),
        "its evaluations, seconds": evaluations(image, model, labels),
    }
    for each in work.values():
        each()  # files are in the system's cache from now on, and modules are compiled
    found = [[timed(each) for each in work.values()] for _ in range(rounds)]
    columns = dict(zip(work, zip(*found, strict=True), strict=True))
    columns["(command − evaluations) / import torch"] = tuple(map(start_over_import, found))
    return {name: Seconds(*map(statistics.median, zip(*rows, strict=True))) for name, rows in columns.items()}


def start_over_import(row: list[Seconds]) -> Seconds:
    """Return a round's ratio."""
    torch, command, own = row
    return Seconds(*((whole - part) / unit for unit, whole, part in zip(torch, command, own, strict=True)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--labels", default="cifar10")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        found = measure(asked.image or some_image(Path(folder)), asked.model, asked.labels, asked.rounds)
    print(f"{'medians of ' + str(asked.rounds) + ' rounds':40}{'clock':>8}{'CPU':>8}")
    for name, (clock, cpu) in found.items():
        print(f"{name:40}{clock:8.2f}{cpu:8.2f}")


def some_image(folder: Path) -> str:
    """Return the path of an image of noise."""
    from PIL import Image

    path = folder / "image.png"
    Image.effect_noise((320, 240), 80).convert("RGB").save(path)
    return str(path)


if __name__ == "__main__":
    main()
