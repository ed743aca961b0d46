"""Fonts for text that is drawn: those of this machine that have its characters; what none has is spelt out.

In: texts; out: names of fonts, texts that can be drawn. Never warns. Must not know what is drawn.
"""

from __future__ import annotations

import logging
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLAIN = "DejaVu Sans"  # comes with matplotlib


def spelt(text: str) -> str:
    r"""Return a text with the characters that no font has as `\u732b`."""
    if text.isascii():
        return text
    _, missing = fonts_for(frozenset(text))
    return "".join(each.encode("unicode_escape").decode() if each in missing else each for each in text)


def letter(figure: Figure) -> None:
    """Give each text of a figure the fonts that have its characters."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if not text.get_text().isascii():
            text.set_fontfamily(list(fonts_for(frozenset(text.get_text()))[0]))


@lru_cache(256)
def fonts_for(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return fonts that together have the characters, the plain one first, and the characters that none has."""
    missing, chosen = {ord(each) for each in characters - {"\n"}}, []
    for name in _names():
        found = missing & _letters(name)
        if found or name == PLAIN:
            chosen.append(name)
            missing -= found
        if not missing:
            break
    return tuple(chosen), frozenset(map(chr, missing))


@cache
def _names() -> tuple[str, ...]:
    """Return the fonts of this machine, the plain one and others without serifs first."""
    from matplotlib.font_manager import fontManager

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells of fonts that it does without
    names = {entry.name for entry in fontManager.ttflist if "Last Resort" not in entry.name}  # it has signs for all
    return tuple(sorted(names, key=lambda name: (name != PLAIN, "Sans" not in name, name)))


def _letters(name: str) -> set[int]:
    """Return the characters of a font; one that cannot be drawn with has none."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    try:
        font = get_font(findfont(FontProperties(family=[name]), fallback_to_default=False))
    except (OSError, RuntimeError, ValueError):
        return set()
    return set(font.get_charmap()) if font.scalable else set()
