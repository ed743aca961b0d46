"""Which images of a dataset are evaluated: chosen by the seed, so that fewer are always among more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from bigain_cli.datasets.dataset import Case, Dataset
from bigain_cli.errors import UsageError

SEEDS = 2**64
APART = 0xE7A1  # sets these random numbers apart from others of the same seed


def choose(dataset: Dataset, limit: int | None, per_class: int | None, seed: int) -> Dataset:
    """Keep so many of each class, then so many in all, in the seed's order; a limit of 0 keeps none.

    A run that was stopped has then answered just what a smaller limit would have chosen.
    """
    if per_class is not None and dataset.many:
        raise UsageError("--per-class", "images of this dataset have several classes", "Use --limit.")
    cases = shuffled(dataset.cases, seed)
    if per_class is not None:
        cases = _per_class(cases, per_class)
    chosen = cases[:limit]
    if not chosen and limit != 0:
        raise UsageError(f"dataset {dataset.name}", "no image in it", "Name another folder.")
    return dataset.of(chosen)


def shuffled(cases: Sequence[Case], seed: int) -> list[Case]:
    """Return images in the order in which the seed chooses them."""
    order = np.random.Generator(np.random.PCG64([APART, seed % SEEDS])).permutation(len(cases))
    return [cases[number] for number in order]


def by_class(cases: Sequence[Case]) -> dict[int, list[Case]]:
    """Return each class's images, in the same order."""
    groups: dict[int, list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.truth[0]].append(case)
    return groups


def _per_class(cases: list[Case], count: int) -> list[Case]:
    """Take the classes in turn, so that a limit cuts them alike."""
    groups = by_class(cases)
    rounds = range(min(count, max(map(len, groups.values()), default=0)))
    return [groups[number][turn] for turn in rounds for number in sorted(groups) if turn < len(groups[number])]
