"""Text for people: counts, durations, aligned and Markdown tables, and names without control characters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import accumulate, takewhile

TableRows = Sequence[Sequence[str]]
COLUMNS = 80  # cells of a terminal that tables fit
GUTTER = "  "  # between columns
LEAST_NAME = 5  # cells that are left of a name at least

_UNSAFE = re.compile(  # control characters, line and paragraph ends, marks that reorder text, surrogates
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

_MARKUP = re.compile(r"[\\`*_~<>|\[\]$&]")
_WEB_ADDRESS = re.compile(r"\b(https?|ftp|www)([:.])", re.IGNORECASE)  # which readers make links of

JOINER, WIDENING = "\u200d", "\ufe0f"  # makes one sign of the letters beside it; makes the letter before it wide


def counted(count: int, name: str) -> str:
    """Return a count with its noun: 1 draw, 2 draws."""
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def aligned(head: Sequence[str], rows: TableRows, left: int = 1, width: int | None = None, names: int = 0) -> str:
    """Align columns: the first few to the left, the others to the right.

    With a width, the column of names is shortened until a row takes at most so many cells.
    """
    table = [list(row) for row in (head, *rows)]
    if width is not None:
        short = short_names([row[names] for row in table[1:]], room_for_names(head, rows, width, names))
        for row in table[1:]:
            row[names] = short[row[names]]
    widths = _widths(table)
    lines = []
    for row in table:
        cells = zip(row, widths, strict=True)
        lines.append(GUTTER.join(pad(cell, width, at < left) for at, (cell, width) in enumerate(cells)).rstrip())
    return "\n".join(lines)


def room_for_names(head: Sequence[str], rows: TableRows, width: int, names: int = 0) -> int:
    """Return how many cells are left for the column of names."""
    widths = _widths([head, *rows])
    return max(width - sum(widths) + widths[names] - len(GUTTER) * (len(widths) - 1), LEAST_NAME)


def short_names(names: Iterable[str], width: int) -> dict[str, str]:
    """Shorten names; if two of them would look alike, all get a number."""
    known = list(dict.fromkeys(names))
    short = {name: shortened(name, width) for name in known}
    if len({*short.values()}) < len(known):
        short = {name: shortened(f"{number} {name}", width) for number, name in enumerate(known, 1)}
    return short


def _widths(table: TableRows) -> list[int]:
    return [max(map(cell_width, column)) for column in zip(*table, strict=True)]


def markdown(head: Sequence[str], rows: TableRows) -> str:
    """Write a Markdown table; names, in the first column and in the head of a matrix, are shown as they are."""
    rule = ["---", *("---:" for _ in head[1:])]
    head = head if head[0] else [plain_markdown(name) for name in head]
    table = [[plain_markdown(name), *(cell.replace("|", "\\|") for cell in cells)] for name, *cells in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *table])


def plain_markdown(text: str) -> str:
    """Escape what Markdown would render: emphasis, code, links, tags, and what breaks a table's row."""
    return _WEB_ADDRESS.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", safe(text)))


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


def clock(seconds: float) -> str:
    """Write a duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def spoken_time(seconds: float) -> str:
    """Write a duration as people say it: 45 s, 3 min, 2.5 h, 3 days."""
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{_few_digits(seconds / size)} {unit}"
    return f"{_few_digits(seconds)} s"


def spoken_rate(value: float) -> str:
    """Write how many come in a second as people say it: 0.034, 1.2, 57, 1200."""
    if value >= 9.95 or value <= 0:
        return f"{value:.0f}"
    return f"{value:.{1 - math.floor(math.log10(value))}f}".rstrip("0").rstrip(".")


def _few_digits(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}"


def spoken_size(size: int) -> str:
    """Write a number of bytes as people say it: 4.9 GB, 23.0 MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def safe_lines(text: str) -> str:
    """Do the same as `safe`, but leave the text's own ends of lines and tabs."""
    return _UNSAFE.sub(lambda match: match[0] if match[0] in "\n\t" else safe(match[0]), text)


def safe(text: str) -> str:
    """Escape the characters that would move a terminal's cursor or reorder its text."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
