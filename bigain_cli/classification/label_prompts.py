"""From labels to the prompts that a backbone is given for each of them.

A model with a closed vocabulary gets class names, one with a text encoder gets prompts. Must not know tensors or how
scoring works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bigain_cli.backbones.vocabulary import ClassVocabulary
from bigain_cli.errors import UsageError
from bigain_cli.labels import DEFAULT_TEMPLATE, INLINE_LIST, Label, LabelSet, presets, prompts_for, read_labels

NONE = "none"


@dataclass(frozen=True)
class LabelPrompts:
    """A label and its prompts; the empty prompt is the model without a condition."""

    name: str
    texts: tuple[str, ...]


def label_prompts(
    labels: LabelSet,
    templates: Sequence[str],
    reject: bool,
    vocabulary: ClassVocabulary | None,
    usual: str = DEFAULT_TEMPLATE,
) -> tuple[LabelPrompts, ...]:
    """Return the prompts of each label, with `reject` "none", too; `usual` is the template if none is given."""
    chosen = [label for label in labels.labels if not (reject and label.name.casefold() == NONE)]
    for label in set(labels.labels) - set(chosen):
        if label.prompts:
            raise UsageError(
                f"label {label.name!r}", "has prompts of its own, but --reject needs the name", "Rename it."
            )
    if vocabulary is None:
        used = templates or (usual,)
        found = [LabelPrompts(label.name, prompts_for(label, used, override=bool(templates))) for label in chosen]
    else:
        found = _known(chosen, templates, vocabulary)
    if reject:
        found.append(LabelPrompts(NONE, ("",)))
    if len(found) < 2:
        spelled = " without spaces (red,green)" if labels.origin == INLINE_LIST else ""  # where a shell would split it
        raise UsageError(labels.origin, "one label cannot be ranked", f"Give at least two{spelled}, or add --reject.")
    return tuple(found)


def _known(labels: Sequence[Label], templates: Sequence[str], vocabulary: ClassVocabulary) -> list[LabelPrompts]:
    """Match every label with a class; by its name or else by the prompts it came with."""
    if templates:
        raise UsageError("--template", "this model knows class names, not sentences", "Leave out --template.")
    found, seen = [], dict[int, str]()
    for label in labels:
        by_prompt = label.prompts and all(vocabulary.knows(prompt) for prompt in label.prompts)
        texts = label.prompts if by_prompt and not vocabulary.knows(label.name) else (label.name,)
        for number in map(vocabulary.find, texts):
            if seen.setdefault(number, label.name) != label.name:
                raise UsageError(
                    f"labels {seen[number]!r} and {label.name!r}",
                    f"are the same class {number} of this model",
                    "Keep one.",
                )
        found.append(LabelPrompts(label.name, texts))
    return found


def as_label_set(labels: str | LabelSet | Sequence[str] | Mapping[str, str | Sequence[str]]) -> LabelSet:
    """Take labels as a specification, a list of names, or a mapping from names to prompts."""
    if isinstance(labels, LabelSet):
        return labels
    if isinstance(labels, str):
        return read_labels(labels, presets())
    if isinstance(labels, Mapping):
        made = [Label(name, (texts,) if isinstance(texts, str) else tuple(texts)) for name, texts in labels.items()]
    else:
        made = [Label(name) for name in labels]
    if any(not isinstance(label.name, str) for label in made):
        raise UsageError("labels", "a label is not a text", "Give names, or a mapping from names to prompts.")
    made = [Label(label.name.strip(), label.prompts) for label in made]
    names = [label.name for label in made]
    for name in names:
        if not name or names.count(name) > 1:
            raise UsageError("labels", f"{name!r} is given twice" if name else "one is empty", "Give each label once.")
    return LabelSet(tuple(made), "the labels given")
