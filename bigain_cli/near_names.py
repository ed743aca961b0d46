"""Hints for misspelt names: the known ones that are really near, and then what is known.

In: a name and the known ones; out: a sentence. Must not know what is named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

NEAREST = 3  # names in a question
SHOWN = 20  # known names in a hint; of more than that, only the first


def did_you_mean(name: str, known: Iterable[str], then: str | None = None) -> str:
    """Return a hint that names near names, if there are any, and then all known ones, or what `then` says of them."""
    known = list(known)
    question = f"Did you mean {' or '.join(found)}? " if (found := near(name, known)) else ""
    return question + (f"Known: {listed(known)}." if then is None else then)


def listed(names: Collection[str]) -> str:
    """Return names with commas between; of very many, the first and their number."""
    if len(names) <= SHOWN:
        return ", ".join(names)
    return f"{', '.join(list(names)[:SHOWN])}, … ({len(names):,} in all)"


def near(name: str, known: Iterable[str]) -> list[str]:
    """Return the nearest known names: those with its words, else one slip away or in it, or two slips, or longer."""
    ranks = {other: rank for other in known if (rank := _rank(name.casefold(), other.casefold())) is not None}
    return [other for other, rank in ranks.items() if rank == min(ranks.values())][:NEAREST]


def _rank(name: str, other: str) -> int | None:
    """Return how near two names are, 0 for the nearest, or None.

    Two slips are near only in names that begin alike and are not short: a bear is no misspelt deer.
    """
    if not name or not other:
        return None
    if _has_words(other, name):
        return 0
    if _has_words(name, other):
        return 1  # no nearer than a slip: mini-lat may be mini-late, not only mini
    slips = distance(name, other) if abs(len(name) - len(other)) <= 2 else 3
    shorter = min(len(name), len(other))
    if (slips == 1 and shorter > 1) or (slips == 2 and shorter > 3 and name[0] == other[0]):
        return slips
    return 3 if len(name) > 1 and other.startswith(name) else None


def _has_words(text: str, part: str) -> bool:
    """Return whether one name occurs in another as whole words."""
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None


def distance(one: str, other: str) -> int:
    """Return the insertions, deletions, replacements and swaps of neighbours that turn one text into another.

    Damerau and Levenshtein's, in its restricted form: no part is changed twice.
    """
    before, last = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, target in enumerate(other, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != target)))
            if i > 1 and j > 1 and (one[i - 2], letter) == (target, other[j - 2]):
                row[j] = min(row[j], before[j - 2] + 1)
        before, last = last, row
    return last[-1]
