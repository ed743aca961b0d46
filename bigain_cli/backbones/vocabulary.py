"""Closed vocabularies: the class names of a label-conditioned model, the prompts of a small text-conditioned one.

In: a name, a synonym, a number or a prompt; out: a class id, or the prompt in the spelling of the model's training; an
error with near names for all else. Must not know tensors.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bigain_cli.errors import UsageError
from bigain_cli.labels.templates import default_template, fill
from bigain_cli.near_names import did_you_mean, listed

# ImageNet's homonyms: longer names for classes that share one word in the standard list.
HOMONYMS = {
    "old world partridge": (86, "partridge"),
    "crane bird": (134, "crane"),
    "cardigan sweater": (474, "cardigan"),
    "construction crane": (517, "crane"),
    "stringed harp": (594, "harp"),
    "maillot swimsuit": (638, "maillot"),
    "guided missile": (657, "missile"),
}


class ClassVocabulary:
    """Class names by id, each with its synonyms after commas, as in a model's id2label."""

    def __init__(self, names: Mapping[int, str], unconditional: int | None) -> None:
        self.names = dict(names)
        self.unconditional = unconditional
        self._ids: dict[str, list[int]] = defaultdict(list)
        for number, name in self.names.items():
            for spelling in {normalised(part) for part in (name, *name.split(","))} - {""}:
                self._ids[spelling].append(number)
        for name, (number, word) in HOMONYMS.items():
            if number in self._ids.get(word, []):
                self._ids.setdefault(name, [number])

    def find(self, name: str) -> int:
        """Return the class id of a name, a synonym, or a number such as 207; the empty name is no class."""
        if not name.strip():
            return self._unconditional_id()
        ids = self._ids.get(normalised(name), [])
        if len(ids) == 1:
            return ids[0]
        if ids:
            choices = "; ".join(f"{number} ({self.names[number]})" for number in ids)
            why = f"names several classes of this model: {choices}"
            raise UsageError(f"label {name!r}", why, "Use one of the numbers.")
        if name.strip().isdecimal() and len(name.strip()) <= 9 and int(name) in self.names:
            return int(name)
        why = f"not among the {len(self.names)} classes this model knows"
        raise UsageError(f"label {name!r}", why, self._hint(name))

    def main_names(self) -> tuple[str, ...]:
        """Return a name for each class by which it is found: its first that no other class has, or its number."""
        return tuple(self._main_name(number, name) for number, name in self.names.items())

    def _main_name(self, number: int, name: str) -> str:
        homonyms = (longer for longer, (other, _) in HOMONYMS.items() if other == number)
        candidates = (part.strip() for part in (*name.split(","), *homonyms, name))
        return next((part for part in candidates if self._ids.get(normalised(part)) == [number]), str(number))

    def knows(self, name: str) -> bool:
        """Tell whether a name can be found."""
        try:
            self.find(name)
        except UsageError:
            return False
        return True

    def _unconditional_id(self) -> int:
        if self.unconditional is None:
            why = "this model was trained without an unconditional class"
            raise UsageError("the empty prompt", why, "Leave out --reject, or generate with --guidance 1.")
        return self.unconditional

    def _hint(self, name: str) -> str:
        known = [name.split(",")[0] for name in self.names.values()]
        near_names = did_you_mean(normalised(name), self._ids, f"It knows: {listed(known)}.")
        return f"{near_names} For free text choose a text-conditioned model, for example -m sd1.5."


@dataclass(frozen=True)
class PromptVocabulary:
    """Classes with all their names, the main one first, and the templates with `{}` of a model's training."""

    classes: Mapping[str, Sequence[str]]
    templates: Sequence[str]

    def main_names(self) -> tuple[str, ...]:
        """Return the main name of each class."""
        return tuple(self.classes)

    def sentences(self, name: str) -> list[str]:
        """Return every template filled with every name of a class."""
        return [fill(template, word) for word in self.classes[name] for template in self.templates]

    def prompt(self, name: str) -> str:
        """Return the prompt for a class: from the command's own template, if the model was trained with it."""
        return fill(default_template(self.templates), self.classes[name][0])

    def normalise(self, prompt: str) -> str:
        """Return a prompt in the model's spelling, or refuse it; the empty one is no condition."""
        text = normalised(prompt)
        words = _words(text)
        if not words:
            return ""
        if text in self._sentences:
            return text
        unknown = [word for word in words if word not in self._words]
        if unknown:
            raise self._refusal(prompt, f"this model does not know the word {unknown[0]!r}", unknown[0])
        classes = self._classes_in(words)
        if len(classes) != 1:
            why = f"names several classes ({', '.join(classes)})" if classes else "names none of its classes"
            raise self._refusal(prompt, why, "")
        return " ".join(words)

    def _classes_in(self, words: list[str]) -> list[str]:
        """Return the classes that the words name; a longer name hides shorter ones inside it."""
        found: dict[str, None] = {}
        start = 0
        while start < len(words):
            lengths = range(min(self._longest, len(words) - start), 0, -1)
            names = {length: " ".join(words[start : start + length]) for length in lengths}
            length = next((length for length, name in names.items() if name in self._class_of), 0)
            if length:
                found[self._class_of[names[length]]] = None
            start += max(length, 1)
        return list(found)

    @cached_property
    def _class_of(self) -> dict[str, str]:
        return {plain(word): name for name, names in self.classes.items() for word in names}

    @cached_property
    def _longest(self) -> int:
        return max(len(name.split()) for name in self._class_of)

    @cached_property
    def _words(self) -> frozenset[str]:
        names = (word for name in self._class_of for word in name.split())
        return frozenset(names) | {word for text in self._sentences for word in _words(text)}

    @cached_property
    def _sentences(self) -> frozenset[str]:
        return frozenset(normalised(text) for name in self.classes for text in self.sentences(name))

    def _refusal(self, prompt: str, why: str, word: str) -> UsageError:
        near_names = did_you_mean(word, self._class_of, f"It knows: {listed(self.classes)}.")
        hint = f"{near_names} For free text choose another model, for example -m sd1.5."
        return UsageError(f"prompt {prompt!r}", why, hint)


def normalised(text: str) -> str:
    """Make spelling variants equal: Unicode forms, case, hyphens, underscores, apostrophes and extra blanks."""
    text = unicodedata.normalize("NFC", text).casefold().replace("'", "").replace("’", "")
    return unicodedata.normalize("NFC", re.sub(r"[\s_\-]+", " ", text).strip())


def plain(text: str) -> str:
    """Return a text's words in that spelling, without full stops and exclamation marks at their ends."""
    return " ".join(_words(normalised(text)))


def _words(text: str) -> list[str]:
    """Split a normalised text, without the marks at the ends of its words."""
    return re.sub(r"[.!]+(?=\s|$)", " ", text).split()
