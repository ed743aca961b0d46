"""Which label is the true answer for which class."""

from __future__ import annotations

import re

from bigain_cli.errors import UsageError, did_you_mean
from bigain_cli.evaluation.dataset import Dataset
from bigain_cli.labels import Label, LabelSet, presets, read_labels


def labels_for(dataset: Dataset, given: str | None) -> tuple[LabelSet, tuple[str, ...]]:
    """Return the labels to choose between, and for each class the label that is right."""
    chosen = given or dataset.preset
    if not chosen:
        labels = LabelSet(tuple(Label(name) for name in dataset.classes), f"the classes of {dataset.name}")
        return labels, dataset.classes
    labels = read_labels(chosen, presets())
    by_name = {folded(label.name): label.name for label in labels.labels}
    strange = [name for name in dataset.classes if folded(name) not in by_name]
    if not strange:
        return labels, tuple(by_name[folded(name)] for name in dataset.classes)
    if given is None and len(labels.labels) == len(dataset.classes):
        return labels, tuple(label.name for label in labels.labels)  # known datasets number classes as presets do
    names = [label.name for label in labels.labels]
    hint = did_you_mean(strange[0], names, "Every class needs a label of its name.")
    raise UsageError(labels.origin, f"no label for the class {strange[0]!r} of {dataset.name}", hint)


def folded(name: str) -> str:
    """Return a name as it is compared: not by case, nor by what stands between words."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
