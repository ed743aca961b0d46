"""The closed vocabularies: class names of a label-conditioned model, prompts of a small text-conditioned one.

Names, synonyms and numbers to class ids; prompts to the spelling that the model knows. Refuses what a model cannot
know and lists near names. Must not know tensors.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from bigain_cli.errors import UsageError, near

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


class Vocabulary:
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
