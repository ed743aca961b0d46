"""Text for people: counts, tables as aligned text or as Markdown, and names without control characters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, takewhile

TableRows = Sequence[Sequence[str]]

_UNSAFE = re.compile(  # control characters, line and paragraph ends, marks that reorder text, surrogates
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

JOINER, WIDENING = "\u200d", "\ufe0f"  # makes one sign of the letters beside it; makes the letter before it wide


def counted(count: int, name: str) -> str:
    """Return a count with its noun: 1 draw, 2 draws."""
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def aligned(head: Sequence[str], rows: TableRows, left: int = 1) -> str:
    """Align columns: the first few to the left, the others to the right."""
    table = [head, *rows]
    widths = [max(map(cell_width, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = zip(row, widths, strict=True)
        lines.append("  ".join(pad(cell, width, at < left) for at, (cell, width) in enumerate(cells)).rstrip())
    return "\n".join(lines)


def markdown(head: Sequence[str], rows: TableRows) -> str:
    """Write a Markdown table."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [head, rule, *rows])


def pad(text: str, width: int, left: bool = True) -> str:
    """Fill a text up with blanks to a number of terminal cells."""
    blanks = " " * (width - cell_width(text))
    return text + blanks if left else blanks + text


def cell_width(text: str) -> int:
    """Count the terminal cells a text takes; CJK characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shortened(text: str, width: int) -> str:
    """Replace the middle of a text by … if it takes more than so many terminal cells: its end tells files apart."""
    if cell_width(text) <= width:
        return text
    end = text[len(text) - _fitting(text[::-1], width // 2) :]
    while end and not cell_width(end[0]):  # a mark that belongs to a letter that is left out
        end = end[1:]
    start = text[: _fitting(text, width - 1 - cell_width(end))].rstrip(JOINER)
    return f"{start}…{end}" if width > 0 else ""


def _fitting(text: str, width: int) -> int:
    """Return how many letters from the start fit, as if each stood alone; together they never take more."""
    widths = accumulate(1 if letter == WIDENING else cell_width(letter) for letter in text)
    return sum(1 for _ in takewhile(lambda used: used <= width, widths))


def safe(text: str) -> str:
    """Escape the characters that would move a terminal's cursor or reorder its text."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
