"""A dataset: classes, and cases, which are images with their true classes; a choice of cases, and the labels to use.

An image is opened only when it is needed. Must not know where images are stored.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL.Image import Image

from bigain_cli.errors import InputError, UsageError, one_line
from bigain_cli.images import Source
from bigain_cli.labels import Label, LabelSet, presets, read_labels
from bigain_cli.limits import is_readable
from bigain_cli.near_names import did_you_mean, listed

SEEDS = 2**64
CHOICE_STREAM = 0xE7A1  # separates these random numbers from others of the same seed


@dataclass(frozen=True)
class Case:
    """One image: its id, the numbers of its true classes, and a function that opens it."""

    id: str
    truth: tuple[int, ...]
    open: Callable[[], Image | Source]
    source: Source | None = None  # if that is where it comes from

    def opened(self) -> Source | tuple[str, Image]:
        """Return the image with its id, or its source; if it cannot be read, a source with the error."""
        try:
            found = self.open()
            if isinstance(found, Image):
                _decode(found)
        except Exception as problem:  # noqa: BLE001 — one bad file must not end the run
            why = one_line(problem)
            found = Source(self.id, error=InputError("unreadable-image", self.id, why, "Check the file"))
        return found if isinstance(found, Source) else (self.id, found)


def _decode(image: Image) -> None:
    """Decode an image now: some datasets return it undecoded."""
    try:
        image.load()
    except BaseException:
        image.close()
        raise


@dataclass(frozen=True)
class Dataset:
    """Classes and cases; `preset` names a label set with a label for each class by number, where class names differ."""

    name: str
    classes: tuple[str, ...]
    cases: Sequence[Case]
    preset: str = ""
    multilabel: bool = False  # whether an image may have several classes, or none
    unlabelled: tuple[str, ...] = ()  # messages about image files without a class, and classes without images

    def __post_init__(self) -> None:
        for name in self.classes:
            if not isinstance(name, str) or not is_readable(name):
                why = f"the class {name!r} has no name that can be read, and so no prompt"
                raise UsageError(f"dataset {self.name}", why, "Give it another name.")


def choose(dataset: Dataset, limit: int | None, per_class: int | None, seed: int) -> Dataset:
    """Keep at most `per_class` of each class, then at most `limit` in all, in the seed's order.

    So an interrupted run has classified exactly the images that a smaller limit would have chosen.
    """
    if per_class is not None and dataset.multilabel:
        raise UsageError("--per-class", "images of this dataset have several classes", "Use --limit.")
    cases = shuffled(dataset.cases, seed)
    if per_class is not None:
        cases = _per_class(cases, per_class)
    chosen = cases[:limit]
    if not chosen and limit != 0:
        raise UsageError(f"dataset {dataset.name}", "no image in it", "Name another folder.")
    return replace(dataset, cases=chosen)


def shuffled(cases: Sequence[Case], seed: int) -> list[Case]:
    """Return cases in the order in which the seed chooses them."""
    import numpy as np  # what is not there is refused without it

    order = np.random.Generator(np.random.PCG64([CHOICE_STREAM, seed % SEEDS])).permutation(len(cases))
    return [cases[number] for number in order]


def by_class(cases: Sequence[Case]) -> dict[int, list[Case]]:
    """Return each class's cases, in the same order."""
    groups: dict[int, list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.truth[0]].append(case)
    return groups


def _per_class(cases: list[Case], count: int) -> list[Case]:
    """Take one case of each class in turn, so that a limit keeps classes balanced."""
    groups = by_class(cases)
    rounds = range(min(count, max(map(len, groups.values()), default=0)))
    return [groups[number][turn] for turn in rounds for number in sorted(groups) if turn < len(groups[number])]


def labels_for(dataset: Dataset, given: str | None) -> tuple[LabelSet, tuple[str, ...]]:
    """Return the labels to choose between, and the right label of each class."""
    if given is None and not dataset.preset:
        labels = LabelSet(tuple(Label(name) for name in dataset.classes), f"the classes of {dataset.name}")
        return labels, dataset.classes
    labels = read_labels(dataset.preset if given is None else given, presets())
    names = [label.name for label in labels.labels]
    similar: dict[str, list[str]] = defaultdict(list)
    for name in names:
        similar[_normalised(name)].append(name)
    found = [_matching_label(name, similar[_normalised(name)], labels.origin) for name in dataset.classes]
    if all(found):
        return labels, tuple(found)
    if given is None and len(names) == len(dataset.classes):
        return labels, tuple(names)  # known datasets number classes as presets do
    missing = dataset.classes[found.index("")]
    hint = did_you_mean(missing, names, f"Every class needs a label of its name; there are: {listed(names)}.")
    raise UsageError(labels.origin, f"no label for the class {missing!r} of {dataset.name}", hint)


def _matching_label(name: str, similar: Sequence[str], origin: str) -> str:
    """Return the label of a class: the one of exactly its name, or else the only similar one, or nothing."""
    if name in similar:
        return name
    if len(similar) > 1:
        why = f"{' and '.join(map(repr, similar))} could both be the class {name!r}"
        raise UsageError(origin, why, "Write one of them otherwise.")
    return similar[0] if similar else ""


def _normalised(name: str) -> str:
    """Return a name without differences in case and in what separates words."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
