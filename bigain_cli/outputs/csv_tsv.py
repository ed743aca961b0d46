"""Records as rows of a fixed set of columns: CSV quoted as RFC 4180 requires, TSV escaped as jq's @tsv does.

The header comes first, also in an empty run. With `top` above one, label_2, probability_2 and so on come before the
last three columns. A text that a spreadsheet would run as a formula gets an apostrophe before it, unless the layout
asks for raw cells.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any, BinaryIO

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.outputs.output_format import OutputFormat, Record, encode

_RANKING = "id label probability settled runner_up gap gap_low gap_high draws evaluations"
_SHORTLIST = ("asked", "not_asked", "remainder")  # last, so that no column of earlier versions moves
_FIRST = tuple(f"{_RANKING} error_kind error fingerprint answer decided".split())
COLUMNS = (*_FIRST, *_SHORTLIST)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that spreadsheets run
_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Csv(OutputFormat):
    """Comma-separated rows."""

    def open(self, stream: BinaryIO) -> None:
        """Write the header."""
        super().open(stream)
        further = [f"{name}_{rank}" for rank in range(2, self._layout.top + 1) for name in ("label", "probability")]
        self._write_row([*_FIRST, *further, *_SHORTLIST])

    def add(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Write a record's row."""
        spelled = _text if self._layout.raw else _harmless
        self._write_row([spelled(cell) for cell in cells(record, self._layout.top)])

    def _write_row(self, row: Sequence[str]) -> None:
        self._stream.write(encode(self._joined(row) + "\n"))
        self._stream.flush()

    def _joined(self, row: Sequence[str]) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\r\n").writerow(row)  # with this end, a lone \r in a cell is quoted
        return buffer.getvalue().removesuffix("\r\n")


class Tsv(Csv):
    """Tab-separated rows, one line each whatever the cells contain."""

    def _joined(self, row: Sequence[str]) -> str:
        return "\t".join(cell.translate(_ESCAPES) for cell in row)


def cells(record: Record, top: int) -> list[Any]:
    """Return a record's values in the order of the columns, with None for those that it lacks."""
    low, high = record.get("gap_interval") or (None, None)
    error = record.get("error") or {}
    values = {
        **record,
        "gap_low": low,
        "gap_high": high,
        "error_kind": error.get("kind"),
        "error": error.get("message"),
        "fingerprint": (record.get("settings") or {}).get("fingerprint"),
    }
    further = [entry[name] for entry in record.get("top", [])[1:top] for name in ("label", "probability")]
    padding = [None] * (2 * (top - 1) - len(further))
    first, last = ([values.get(column) for column in columns] for columns in (_FIRST, _SHORTLIST))
    return [*first, *further, *padding, *last]


def _harmless(cell: Any) -> str:
    """Return a value so that no spreadsheet runs it: a text that begins as a formula does gets an apostrophe before."""
    text = _text(cell)
    runs = isinstance(cell, str) and text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if runs else text


def _text(cell: Any) -> str:
    """Return a value as JSON would write it, but strings without quotes and None as nothing."""
    if cell is None:
        return ""
    return str(cell).lower() if isinstance(cell, bool) else str(cell)
