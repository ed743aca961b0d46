"""Text for people: counts, tables as aligned text or as Markdown, and names without control characters."""

from __future__ import annotations

import re
from collections.abc import Sequence

TableRows = Sequence[Sequence[str]]

_UNSAFE = re.compile(  # control characters, line and paragraph ends, marks that reorder text, surrogates
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


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
    """Return a text that takes at most so many terminal cells: a longer one loses its middle."""
    if cell_width(text) <= width:
        return text
    head, tail, room = 0, len(text), width - 1  # the ellipsis takes a cell
    left = right = 0
    while True:
        from_end = right <= left  # the end of a path says more than its beginning
        size = cell_width(text[tail - 1] if from_end else text[head])
        if left + right + size > room:
            return f"{text[:head]}…{text[tail:]}"
        if from_end:
            tail, right = tail - 1, right + size
        else:
            head, left = head + 1, left + size


def safe(text: str) -> str:
    """Escape the characters that would move a terminal's cursor or reorder its text."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
