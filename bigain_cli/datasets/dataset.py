"""Labelled images: cases with their true classes, from a folder, a file or a known dataset.

Images are opened when their turn comes. Must not know backbones.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL.Image import Image

from bigain_cli.datasets import ImageFolder
from bigain_cli.errors import InputError, UsageError, did_you_mean
from bigain_cli.images import Source
from bigain_cli.labels import Label, LabelSet, presets, read_labels

Opened = Source | tuple[str, Image]


@dataclass(frozen=True)
class Case:
    """One image: what it is called, the numbers of its true classes, and how to get at it."""

    id: str
    truth: tuple[int, ...]
    open: Callable[[], Image | Source]

    def opened(self) -> Opened:
        """Return the image, or a source that says why there is none."""
        try:
            found = self.open()
            if isinstance(found, Image):
                _load(found)
        except (OSError, SyntaxError, ValueError) as problem:  # what decoders raise
            found = Source(self.id, error=InputError("unreadable-image", self.id, str(problem), "Check the file"))
        return found if isinstance(found, Source) else (self.id, found)


def _load(image: Image) -> None:
    """Decode an image now: some datasets leave that for later."""
    try:
        image.load()
    except BaseException:
        image.close()
        raise


@dataclass(frozen=True)
class Dataset:
    """Cases of some classes; `preset` has a label for each class by number, where the names themselves differ."""

    name: str
    classes: tuple[str, ...]
    cases: Sequence[Case]
    preset: str = ""
    many: bool = False  # whether an image may have several classes, or none
    strays: tuple[str, ...] = ()

    def of(self, cases: Sequence[Case]) -> Dataset:
        """Return the same dataset with other cases."""
        return replace(self, cases=cases)


def cases_of(album: ImageFolder) -> list[Case]:
    """Return an album's images as cases."""
    return [_case(source, number) for source, number in album.entries]


def _case(source: Source, number: int) -> Case:
    return Case(source.id, (number,), lambda: source)


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


def labels_for(dataset: Dataset, given: str | None) -> tuple[LabelSet, tuple[str, ...]]:
    """Return the labels to choose between, and for each class the label that is right."""
    chosen = given or dataset.preset
    if not chosen:
        labels = LabelSet(tuple(Label(name) for name in dataset.classes), f"the classes of {dataset.name}")
        return labels, dataset.classes
    labels = read_labels(chosen, presets())
    names = [label.name for label in labels.labels]
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[folded(name)].append(name)
    found = {name: _called(name, alike[folded(name)], labels.origin) for name in dataset.classes}
    unlabelled = [name for name, answer in found.items() if answer is None]
    if not unlabelled:
        return labels, tuple(answer for answer in found.values() if answer is not None)
    if given is None and len(labels.labels) == len(dataset.classes):
        return labels, tuple(label.name for label in labels.labels)  # known datasets number classes as presets do
    hint = did_you_mean(unlabelled[0], names, "Every class needs a label of its name.")
    raise UsageError(labels.origin, f"no label for the class {unlabelled[0]!r} of {dataset.name}", hint)


def _called(name: str, alike: Sequence[str], origin: str) -> str | None:
    """Return the label of a class: of those that read like it the one of just its name, or the only one."""
    if name in alike:
        return name
    if len(alike) > 1:
        why = f"{' and '.join(map(repr, alike))} could both be the class {name!r}"
        raise UsageError(origin, why, "Write one of them otherwise.")
    return alike[0] if alike else None


def folded(name: str) -> str:
    """Return a name as it is compared: not by case, nor by what stands between words."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
