"""Time a first answer beside `import torch`: everything but the evaluations, by the clock and in seconds of the CPU.

    python tools/benchmark_first_answer.py [IMAGE] [--model mini] [--labels cifar10] [--rounds 7]

Each round runs `python -c "import torch"`, the command, and the image's evaluations alone, in a process that has done
them before; medians of all rounds are printed. The clock needs a machine that does nothing else; seconds of the CPU
with OMP_NUM_THREADS=1 suffer less from other processes.
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


def python(*arguments: str) -> bytes:
    """Run Python with compiled modules, as installed ones are, and return its output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, env=environment).stdout


def evaluations(image: str, model: str, labels: str) -> Seconds:
    """Return the seconds of ranking the labels for the image for the second time, as the command does it."""
    from bigain_cli.cli.threads import sleep_while_waiting

    sleep_while_waiting()  # before torch is imported
    from bigain_cli.backbones.loading import load
    from bigain_cli.classification.classifier import Classification
    from bigain_cli.images import Source, read

    run, pixels = Classification(load(model), labels), read(Source(image, path=image))
    _, second = (timed(lambda: list(run.rankings([(image, pixels)]))) for _ in range(2))
    return second


def one_round(image: str, model: str, labels: str) -> list[Seconds]:
    """Return the seconds of the three, and the first answer without its evaluations over `import torch`."""
    chosen = (image, "--model", model, "--labels", labels)
    torch = timed(lambda: python("-c", "import torch"))
    whole = timed(lambda: python("-m", "bigain_cli", "classify", *chosen, "--quiet"))
    part = Seconds(*map(float, python(__file__, *chosen, "--evaluations").split()))
    return [torch, whole, part, Seconds(*((w - p) / t for t, w, p in zip(torch, whole, part, strict=True)))]


def measure(image: str, model: str, labels: str, rounds: int) -> dict[str, Seconds]:
    """Return medians, after a round in which files come into the system's cache and modules are compiled."""
    names = ("import torch, s", "the command, s", "its evaluations, s", "(command − evaluations) / import torch")
    rows = [one_round(image, model, labels) for _ in range(1 + rounds)][1:]
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return {name: Seconds(*map(statistics.median, zip(*column, strict=True))) for name, column in columns}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--labels", default="cifar10")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--evaluations", action="store_true", help="print the seconds of the evaluations alone")
    asked = parser.parse_args()
    if asked.evaluations:
        print(*evaluations(asked.image, asked.model, asked.labels))
        return
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
