"""Ask `match` which of two captions belongs to which of two composites: images side by side, of four different classes.

python tools/benchmark_match.py MODEL DATA.safetensors [-n 100] [--draws 64] [--seed 0] [--template "a photo of a {}."]

Of each composite the caption names one of the two classes in it. Prints text, image and group score with intervals.
"""

from __future__ import annotations

import argparse
import io
import random
from collections.abc import Iterator

from benchmark_composites import composites
from PIL import Image

import bigain_cli as bigain
from bigain_cli.images import Source
from bigain_cli.labels.templates import fill
from bigain_cli.matching.pair_match import PairSummary
from bigain_cli.matching.pairs import Pair
from bigain_cli.training.image_tensors import LabelledImages, load_images


def source(id: str, image: Image.Image) -> Source:
    """Return an image in memory as one that is read from a file."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return Source(id, data=stream.getvalue())


def pairs(images: LabelledImages, count: int, size: int, seed: int, template: str) -> Iterator[Pair]:
    """Yield pairs of composites that share no class, each with a caption about its left or its right half."""
    chance, made = random.Random(seed), composites(images, 4 * count + 100, size, seed)
    number, waiting = 0, list[tuple[tuple[str, str], Image.Image]]()
    for left, right, image in made:
        if number == count:
            return
        waiting.append(((left, right), image))
        if len(waiting) < 2 or set(waiting[0][0]) & set(waiting[1][0]):
            waiting = waiting[:1]
            continue
        number += 1
        captions = [fill(template, chance.choice(names)) for names, _ in waiting]
        first, second = (source(f"{number}-{place}", image) for place, (_, image) in enumerate(waiting))
        waiting = []
        yield Pair(str(number), (first, second), (captions[0], captions[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--template", default="a photo of a {}.")
    asked = parser.parse_args()
    images = load_images(asked.data, asked.size)
    made = list(pairs(images, asked.n, asked.size, asked.seed, asked.template))
    options = bigain.MatchOptions(draws=asked.draws, seed=asked.seed)
    found = [match for match in bigain.match_pairs(asked.model, made, options) if isinstance(match, bigain.PairMatch)]
    summary = PairSummary.of(found)
    assert summary is not None
    print(f"{summary.pairs} pairs, {summary.settled} settled")
    for name, share in summary.scores.items():
        print(f"{name}: {share.percent(unit=' %')}")


if __name__ == "__main__":
    main()
