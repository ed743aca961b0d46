"""Ask maps where a label is: two images side by side, and does the map of one against the other point to its half?

python tools/benchmark_composites.py MODEL PICTURES.safetensors [-n 100] [--draws 64] [--seed 0] [--spec none]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator

from PIL import Image

import bigain_cli as bigain
from bigain_cli.intervals import wilson
from bigain_cli.training.image_tensors import LabelledImages, load_images


def composites(images: LabelledImages, count: int, size: int, seed: int) -> Iterator[tuple[str, str, Image.Image]]:
    """Yield the names of what is on the left and on the right, and the image, as wide as high."""
    chance = random.Random(seed)
    while count:
        left, right = (chance.randrange(len(images)) for _ in range(2))
        names = [images.classes[int(images.labels[number])] for number in (left, right)]
        if names[0] == names[1]:
            continue
        wide = Image.new("RGB", (2 * size, size))
        for place, number in enumerate((left, right)):
            wide.paste(images.image(number).resize((size, size)), (place * size, 0))
        yield names[0], names[1], wide.resize((size, size), Image.Resampling.BICUBIC)
        count -= 1


def points_left(result: bigain.Ranking, left: str) -> tuple[bool, float]:
    """Tell whether the evidence for the left label lies rather on the left, and how much of it."""
    evidence = result.evidence.maps[0].map if result.label == left else -result.evidence.maps[0].map
    middle = evidence.shape[1] // 2
    lean = float(evidence[:, :middle].sum() - evidence[:, -middle:].sum())
    return lean > 0, lean / float(abs(evidence).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("pictures")
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spec", default="none")
    asked = parser.parse_args()
    backbone = bigain.load(asked.model)
    images = load_images(asked.images, asked.size)
    rules = bigain.StoppingRules("fixed", draws=asked.draws)
    hits, leans = 0, []
    for left, right, image in composites(images, asked.n, asked.size, asked.seed):
        run = bigain.classify(backbone, [image], [left, right], rules=rules, maps=True, compress=asked.spec)
        hit, lean = points_left(next(run), left)
        hits, leans = hits + hit, [*leans, lean]
    found = wilson(hits / asked.n, asked.n)
    print(
        f"{hits} of {asked.n} maps point to the half where the label is: "
        f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]; chance is 50 %"
    )
    print(f"mean lean {sum(leans) / len(leans):+.3f} of the evidence; {asked.draws} draws, spec {asked.spec}")


if __name__ == "__main__":
    main()
