"""The font of captions in images, and text that fits a width. Pillow's own font is the same everywhere, but has few
characters; for others an installed font is taken, which matplotlib finds. Must not know what is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from bigain_cli.outputs.plotting import font_files, has_plotting

MOST_LETTERS = 400  # of a text that are looked at
_MISSING = "\uffff"  # a character that no font has


def caption_font(texts: Sequence[str], size: int) -> Any:
    """Return a font of so many pixels: Pillow's own, or the first with the most of the texts' characters."""
    letters = {letter for text in texts for letter in _plain(text)} - {" "} | {"…"}
    best, least = None, len(letters) + 1
    for font in _fonts(size):
        missing = _count_missing(font, letters)
        if missing < least:
            best, least = font, missing
        if not missing:
            break
    return best


def fitted_lines(text: str, font: Any, width: int, most: int) -> tuple[str, ...]:
    """Break a text into lines of at most so many pixels; what does not fit into the last one is cut off."""
    lines: list[str] = []
    for word in _plain(text).split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and (len(lines) == most or font.getlength(longer) <= width):
            lines[-1] = longer
        else:
            lines.append(word)
    return tuple(_cut(line, font, width) for line in lines)


def _cut(line: str, font: Any, width: int) -> str:
    """Cut off a line's end until it fits."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line.rstrip()}…"


def _plain(text: str) -> str:
    """Return the beginning of a text on one line, without control characters."""
    words = " ".join(text[:MOST_LETTERS].split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def _fonts(size: int) -> Iterator[Any]:
    from PIL import ImageFont

    yield ImageFont.load_default(size)
    for file in font_files() if has_plotting() else ():
        yield _font(file, size)


@cache
def _font(file: str, size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.truetype(file, size)


def _count_missing(font: Any, letters: Iterable[str]) -> int:
    """Count the characters that a font shows as it shows one that it does not have."""
    box = bytes(font.getmask(_MISSING))
    return sum(bytes(font.getmask(letter)) == box for letter in letters)
