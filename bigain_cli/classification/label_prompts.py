"""From labels to the prompts of each: class names for a model with a fixed vocabulary, else texts.

Must not know tensors or scores.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bigain_cli.backbones.vocabulary import ClassVocabulary, PromptVocabulary
from bigain_cli.errors import UsageError
from bigain_cli.labels import DEFAULT_TEMPLATE, INLINE_LIST, Label, LabelSet, presets, prompts_for, read_labels

NONE = "none"

Labels = str | LabelSet | Sequence[str] | Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class LabelPrompts:
    """A label and its prompts; the empty prompt is the unconditional model."""

    name: str
    texts: tuple[str, ...]


def label_prompts(
    labels: LabelSet,
    templates: Sequence[str],
    reject: bool,
    vocabulary: ClassVocabulary | None,
    usual: str = DEFAULT_TEMPLATE,
) -> tuple[LabelPrompts, ...]:
    """Return the prompts of each label and, with `reject`, of "none"; `usual` is the default template."""
    chosen = [label for label in labels.labels if not (reject and label.name.casefold() == NONE)]
    for label in set(labels.labels) - set(chosen):
        if label.prompts:
            why = "has prompts of its own, but --reject needs the name"
            raise UsageError(f"label {label.name!r}", why, "Rename it.")
    if vocabulary is None:
        used = templates or (usual,)
        found = [LabelPrompts(label.name, prompts_for(label, used, override=bool(templates))) for label in chosen]
    else:
        found = _class_names(chosen, templates, vocabulary)
    if reject:
        found.append(LabelPrompts(NONE, ("",)))
    if len(found) < 2:
        spelled = " without spaces (red,green)" if labels.origin == INLINE_LIST else ""  # where a shell would split it
        if not chosen:
            raise UsageError(labels.origin, "no label", "Give one at least." if reject else "Give at least two.")
        raise UsageError(labels.origin, "one label cannot be ranked", f"Give at least two{spelled}, or add --reject.")
    return tuple(found)


def digest_of_prompts(prompts: Sequence[str | Sequence[str]]) -> str:
    """Return a hash of prompts, or of the prompts of each label."""
    return hashlib.blake2b(json.dumps(prompts).encode(), digest_size=8).hexdigest()


def check_prompts(
    labels: LabelSet,
    templates: Sequence[str],
    reject: bool,
    vocabulary: ClassVocabulary | PromptVocabulary | None,
    usual: str = DEFAULT_TEMPLATE,
) -> tuple[LabelPrompts, ...]:
    """Return the prompts of each label; refuse those that a closed vocabulary does not know, before it is loaded."""
    class_names = vocabulary if isinstance(vocabulary, ClassVocabulary) else None
    found = label_prompts(labels, templates, reject, class_names, usual)
    if isinstance(vocabulary, PromptVocabulary):
        for name, text in ((label.name, text) for label in found for text in label.texts if text):
            if not vocabulary.normalise(text):
                why = f"its prompt {text!r} has no word, and would compete as the empty prompt"
                raise UsageError(f"label {name!r}", why, "Describe it in words.")
    return found


def own_labels(classes: Sequence[str], model: str) -> LabelSet:
    """Return the classes that a model knows as labels; refuse a model that reads any text."""
    if not classes:
        hint = "Give labels: -l FILE, -l cat,dog or a preset (bigain list labels)."
        raise UsageError("no labels", f"{model} reads any text, and so has no classes of its own", hint)
    return LabelSet(tuple(map(Label, classes)), f"the {len(classes):,} classes of {model}")


def _class_names(labels: Sequence[Label], templates: Sequence[str], vocabulary: ClassVocabulary) -> list[LabelPrompts]:
    """Match every label with a class: by its name, or else by its prompts."""
    if templates:
        raise UsageError("--template", "this model knows class names, not sentences", "Leave out --template.")
    found, seen = [], dict[int, str]()
    for label in labels:
        by_prompt = label.prompts and all(vocabulary.knows(prompt) for prompt in label.prompts)
        texts = label.prompts if by_prompt and not vocabulary.knows(label.name) else (label.name,)
        for number in map(vocabulary.find, texts):
            if seen.setdefault(number, label.name) != label.name:
                both = f"labels {seen[number]!r} and {label.name!r}"
                raise UsageError(both, f"are the same class {number} of this model", "Keep one.")
        found.append(LabelPrompts(label.name, texts))
    return found


def as_label_set(labels: Labels) -> LabelSet:
    """Read labels from a specification, a list of names, or a mapping from names to prompts."""
    if isinstance(labels, LabelSet):
        return labels
    if isinstance(labels, str):
        return read_labels(labels, presets())
    if isinstance(labels, Mapping):
        given = [(name, (texts,) if isinstance(texts, str) else tuple(texts)) for name, texts in labels.items()]
    else:
        given = [(name, ()) for name in labels]
    hint = "Give names, or a mapping from names to prompts."
    if any(not isinstance(text, str) for name, texts in given for text in (name, *texts)):
        raise UsageError("labels", "a label is not a text", hint)
    if blank := [name for name, texts in given if not all(map(str.strip, texts))]:
        raise UsageError(f"label {blank[0]!r}", "one of its prompts is empty", hint)
    parsed = [Label(name.strip(), texts) for name, texts in given]
    counts = Counter(label.name for label in parsed)
    for name, count in counts.items():
        if not name or count > 1:
            raise UsageError("labels", f"{name!r} is given twice" if name else "one is empty", "Give each label once.")
    return LabelSet(tuple(parsed), "the labels given")
