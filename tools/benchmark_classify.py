"""Time one classification as a user meets it, and say where the time goes.

python tools/benchmark_classify.py [IMAGE...] [--model mini] [--labels cifar10] [--repeat 5]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def split(images: list[str], model: str, labels: str, repeat: int) -> dict[str, Any]:
    """Return the seconds of each part, in this process; of the image's parts the medians."""
    clock = [time.perf_counter()]

    def lap() -> float:
        clock.append(time.perf_counter())
        return clock[-1] - clock[-2]

    import bigain_cli as bigain
    from bigain_cli.classification.classifier import Classification
    from bigain_cli.images import Source, read

    loader = bigain.load  # imported on first use
    found: dict[str, Any] = {"imports": lap()}
    backbone = loader(model)
    found["load"] = lap()
    run = Classification(backbone, labels)
    found["labels"] = lap()
    chosen_images = [(image, read(Source(image, path=image))) for image in images]
    found["read"] = lap()
    backbone.encode(chosen_images[0][1])
    found["encode"] = lap()
    times, spent = [], []
    for _ in range(repeat):
        for each in chosen_images:
            (ranking,) = [step for step in run.rankings([each]) if step.finished]
            times.append(lap())
            spent.append(ranking.evaluations)
    found |= {"first image": times[0], "an image": statistics.median(times), "slowest image": max(times)}
    found |= {"evaluations": statistics.median(spent), "most evaluations": max(spent)}
    found["evaluations a second"] = sum(spent) / sum(times)
    return found


def whole(image: str, model: str, labels: str) -> float:
    """Return the seconds of the whole command, by the clock outside."""
    started = time.perf_counter()
    command = [str(Path(sys.executable).with_name("bigain")), "classify", image, "-m", model, "-l", labels, "--json"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Print the split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--labels", default="cifar10")
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        images = asked.images or [_some_image(Path(folder))]
        outside = [whole(images[0], asked.model, asked.labels) for _ in range(asked.repeat)]
        for name, value in split(images, asked.model, asked.labels, asked.repeat).items():
            print(f"{name:22}{value:8.3f}")
        print(f"{'the whole command':22}{statistics.median(outside):8.3f}")


def _some_image(folder: Path) -> str:
    from PIL import Image

    path = folder / "image.png"
    Image.effect_noise((320, 240), 80).convert("RGB").save(path)
    return str(path)


if __name__ == "__main__":
    main()
