"""Measure the search of a label tree on classes in closed form, 1,000 of them in groups of groups.

python tools/measure_shortlist.py judge [--images 500]            tree against all labels, and ten labels alone
python tools/measure_shortlist.py growth FILE.svg [--images 40]   evaluations by number of labels, 10 to 3,000
python tools/measure_shortlist.py statistics                      what the arithmetic beside the network takes

The network is the exact denoiser of Gaussian classes whose means lie in ten groups of ten groups of ten; it is right
about 90 % of the time. Everything is paired: the same images, the same draws.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from oracle import NestedClasses, nested

from bigain_cli import Ranking, classify
from bigain_cli.classification.elimination import Elimination
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.evaluation.accuracy import difference
from bigain_cli.intervals import wilson

BATCH = 2048
COUNTS = (10, 30, 100, 300, 1000, 3000)


def rankings(
    model: NestedClasses, images: Sequence[tuple[str, Image]], labels: Sequence[str], shortlist: str
) -> list[Ranking]:
    """Classify the images, and refuse to lose one."""
    found = list(classify(model, images, labels, shortlist=shortlist, batch=BATCH))
    assert all(isinstance(each, Ranking) for each in found) and len(found) == len(images)
    return found  # type: ignore[return-value]


def judge(asked: argparse.Namespace) -> None:
    """Compare the tree with the race of all labels, and both with races of ten random labels."""
    model, rng = nested(seed=asked.seed), np.random.default_rng(asked.seed)
    names = [model.names[number] for number in range(len(model.names))]
    truth = rng.integers(len(names), size=asked.images)
    images = model.sample(torch.from_numpy(truth), asked.seed)
    ten = [
        rankings(model, [image], rng.choice(names, 10, replace=False).tolist(), "off")[0].evaluations
        for image in images
    ]
    began = time.monotonic()
    everything = rankings(model, images, names, "off")
    middle = time.monotonic()
    tree = rankings(model, images, names, "tree")
    print(f"{middle - began:.0f} s for all labels, {time.monotonic() - middle:.0f} s for the tree")
    right = np.array([each.label == names[number] for each, number in zip(everything, truth, strict=True)])
    with_tree = np.array([each.label == names[number] for each, number in zip(tree, truth, strict=True)])
    same = np.array([one.label == other.label for one, other in zip(everything, tree, strict=True)])
    kept = [one.label in {each.label for each in other.ranked} for one, other in zip(everything, tree, strict=True)]
    costs = [np.array([each.evaluations for each in found], dtype=float) for found in (everything, tree)]
    recall = wilson(float(np.mean(kept)), len(kept))
    print(f"{asked.images} images, {len(names)} labels, seed {asked.seed}")
    print(f"right: all labels {100 * right.mean():.1f} %, tree {100 * with_tree.mean():.1f} %")
    print(f"tree minus all: {difference('tree', 'all', with_tree, right, same).interval.percent('+')} points, paired")
    print(f"the winner of all labels was asked: {recall.percent()} %")
    print(f"evaluations: all {costs[0].mean():.0f}, tree {costs[1].mean():.0f}, ten labels {np.mean(ten):.0f}")
    print(
        f"tree: {costs[1].mean() / np.mean(ten):.1f} times ten labels, {100 * costs[1].mean() / costs[0].mean():.0f} %"
    )
    asked_labels = [len(each.ranked) for each in tree]
    print(f"labels asked: mean {np.mean(asked_labels):.0f}, at most {max(asked_labels)}")
    print(f"remainder: mean {np.mean([each.remainder for each in tree]):.3f}")


def growth(asked: argparse.Namespace) -> None:
    """Print and plot the evaluations of random labels out of 3,000, by their number."""
    model, rng = nested((15, 20, 10), seed=asked.seed), np.random.default_rng(asked.seed)
    rows = []
    for count in COUNTS:
        chosen = rng.choice(len(model.names), count, replace=False)
        names, truth = [model.names[int(number)] for number in chosen], rng.choice(chosen, asked.images)
        images = model.sample(torch.from_numpy(truth), asked.seed)
        found = [rankings(model, images, names, shortlist) for shortlist in ("off", "tree")]
        costs = [float(np.mean([each.evaluations for each in ranked])) for ranked in found]
        right = [sum(each.label == model.names[int(truth[int(each.id)])] for each in ranked) for ranked in found]
        rows.append((count, *costs))
        text = f"{count:5d} labels: all {costs[0]:8.0f}, tree {costs[1]:8.0f} evaluations"
        print(f"{text}; right {right[0]} and {right[1]} of {asked.images}", flush=True)
    plot(asked.file, rows, asked.images)


def plot(file: str, rows: Sequence[tuple[int, float, float]], images: int) -> None:
    """Plot evaluations against labels on logarithmic axes."""
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "bigain"
    figure, axes = pyplot.subplots(figsize=(6.4, 3.8))
    counts = [row[0] for row in rows]
    axes.loglog(counts, [row[1] for row in rows], "o-", color="#777", label="all labels")
    axes.loglog(counts, [row[2] for row in rows], "s-", color="#0b6", label="--shortlist tree")
    axes.set(xlabel="labels", ylabel="evaluations per image")
    axes.set_title(f"Nested classes in closed form, {images} images each", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None})


def statistics(asked: argparse.Namespace) -> None:
    """Print what a block's arithmetic takes, from errors to a ranking, by the number of labels."""
    rng = np.random.default_rng(asked.seed)
    for count in (100, 1000, 5000, 20000):
        elimination = Elimination([f"label {number}" for number in range(count)], [1] * count, StoppingRules())
        times, kept = [], []
        for _ in range(4):
            block = rng.standard_normal((8, count)) + 3 + 0.02 * np.arange(count)
            block[:, ~elimination.remaining] = np.nan
            began = time.perf_counter()
            elimination.add_errors(block)
            elimination.ranking("image", {}, None, finished=False)
            times.append(1e3 * (time.perf_counter() - began))
            kept.append(int(elimination.remaining.sum()))
        print(f"{count:6d} labels: {', '.join(f'{each:.0f}' for each in times)} ms a block; left {kept}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    for run, images in ((judge, 500), (growth, 40), (statistics, 0)):
        verb = verbs.add_parser(run.__name__)
        if run is growth:
            verb.add_argument("file")
        verb.add_argument("--images", type=int, default=images)
        verb.add_argument("--seed", type=int, default=0)
        verb.set_defaults(run=run)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.run(asked)


if __name__ == "__main__":
    main()
