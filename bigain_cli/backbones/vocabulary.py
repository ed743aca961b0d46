"""The closed vocabularies: class names of a label-conditioned model, prompts of a small text-conditioned one.

Names, synonyms and numbers to class ids; prompts to the spelling that the model knows. Refuses what a model cannot
know and lists near names. Must not know tensors.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bigain_cli.errors import UsageError, near
from bigain_cli.labels.templates import default_template, fill

# ImageNet's homonyms: names that are one word in the standard list for two classes, told apart.
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
    """Class names with their synonyms, separated by commas in the model's own table."""

    def __init__(self, names: Mapping[int, str], unconditional: int | None) -> None:
        self.names = dict(names)
        self.unconditional = unconditional
        self._ids: dict[str, list[int]] = defaultdict(list)
        for number, name in self.names.items():
            for form in {folded(part) for part in (name, *name.split(","))} - {""}:
                self._ids[form].append(number)
        for name, (number, word) in HOMONYMS.items():
            if number in self._ids.get(word, []):
                self._ids.setdefault(name, [number])

    def find(self, name: str) -> int:
        """Return the class id of a name, a synonym, or a number such as 207; the empty name is no class at all."""
        if not name.strip():
            return self._no_class()
        ids = self._ids.get(folded(name), [])
        if len(ids) == 1:
            return ids[0]
        if not ids and name.strip().isdecimal() and int(name) in self.names:
            return int(name)
        if ids:
            choices = "; ".join(f"{number} ({self.names[number]})" for number in ids)
            raise UsageError(
                f"label {name!r}", f"names several classes of this model: {choices}", "Use one of the numbers."
            )
        raise UsageError(
            f"label {name!r}", f"not among the {len(self.names)} classes this model knows", self._hint(name)
        )

    def knows(self, name: str) -> bool:
        """Tell whether a name can be found."""
        try:
            self.find(name)
        except UsageError:
            return False
        return True

    def _no_class(self) -> int:
        if self.unconditional is None:
            raise UsageError(
                "the empty prompt",
                "this model was trained without an unconditional class",
                "Leave out --reject, or generate with --guidance 1.",
            )
        return self.unconditional

    def _hint(self, name: str) -> str:
        words = set(folded(name).split())
        names = [form for form in self._ids if words & set(form.split())][:4]
        names = names or near(folded(name), self._ids) or near(folded(name).split(" ")[-1], self._ids)
        known = f"Near names: {', '.join(names)}." if names else f"It knows: {self._sample()}."
        return f"{known} For free text choose a text-conditioned model, for example -m sd1.5."

    def _sample(self) -> str:
        names = [name.split(",")[0] for name in self.names.values()]
        return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")


def folded(name: str) -> str:
    """Make spelling variants equal: case, hyphens, underscores, apostrophes and extra blanks."""
    return re.sub(r"[\s_\-]+", " ", name.casefold().replace("'", "").replace("’", "")).strip()


@dataclass(frozen=True)
class PromptVocabulary:
    """Classes with every name they go by, the first being their own, and templates with `{}` in."""

    classes: Mapping[str, Sequence[str]]
    templates: Sequence[str]

    def sentences(self, name: str) -> list[str]:
        """Return every template filled with every name of a class."""
        return [fill(template, word) for word in self.classes[name] for template in self.templates]

    def prompt(self, name: str) -> str:
        """Return the prompt for a class: from the command's own template, if the model was trained with it."""
        return fill(default_template(self.templates), self.classes[name][0])

    def folded(self, prompt: str) -> str:
        """Return a prompt as the model reads it, or refuse it; the empty one is no condition."""
        text = spelt(prompt)
        words = _words(text)
        if not words:
            return ""
        if text in self._sentences:
            return text
        unknown = [word for word in words if word not in self._words]
        if unknown:
            raise self._refusal(prompt, f"this model does not know the word {unknown[0]!r}", unknown[0])
        found = self._named(words)
        if len(found) != 1:
            why = f"names several classes ({', '.join(found)})" if found else "names none of its classes"
            raise self._refusal(prompt, why, "")
        return " ".join(words)

    def _named(self, words: list[str]) -> list[str]:
        """Return the classes that are named, a longer name hiding shorter ones inside it."""
        found: dict[str, None] = {}
        at = 0
        while at < len(words):
            for length in range(self._longest, 0, -1):
                name = self._names.get(" ".join(words[at : at + length]))
                if name is not None and at + length <= len(words):
                    found[name] = None
                    at += length - 1
                    break
            at += 1
        return list(found)

    @cached_property
    def _names(self) -> dict[str, str]:
        return {plain(word): name for name, names in self.classes.items() for word in names}

    @cached_property
    def _longest(self) -> int:
        return max(len(name.split()) for name in self._names)

    @cached_property
    def _words(self) -> frozenset[str]:
        names = (word for name in self._names for word in name.split())
        return frozenset(names) | {word for text in self._sentences for word in _words(text)}

    @cached_property
    def _sentences(self) -> frozenset[str]:
        return frozenset(spelt(text) for name in self.classes for text in self.sentences(name))

    def _refusal(self, prompt: str, why: str, word: str) -> UsageError:
        known = near(word, self._names) if word else []
        names = known or list(self.classes)[:12]
        more = ", …" if not known and len(self.classes) > 12 else ""
        hint = f"{'Near names' if known else 'It knows'}: {', '.join(names)}{more}."
        return UsageError(
            f"prompt {prompt!r}", why, f"{hint} For free text choose another model, for example -m sd1.5."
        )


def spelt(text: str) -> str:
    """Return a text in the one spelling that all its variants share."""
    return unicodedata.normalize("NFC", folded(unicodedata.normalize("NFC", text)))


def plain(text: str) -> str:
    """Return a text's words in that spelling, without full stops and exclamation marks at their ends."""
    return " ".join(_words(spelt(text)))


def _words(text: str) -> list[str]:
    return re.sub(r"[.!]+(?=\s|$)", " ", text).split()
