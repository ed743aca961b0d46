"""Which label is the true answer for which class."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from bigain_cli.datasets.dataset import Dataset
from bigain_cli.errors import UsageError, did_you_mean
from bigain_cli.labels import Label, LabelSet, presets, read_labels


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
