"""Records as rows of a fixed set of columns: CSV quoted as RFC 4180 says, TSV escaped as jq's @tsv does.

The header comes first, also for an empty run. With `top` above one, label_2, probability_2 and so on are added.
"""

from __future__ import annotations

import csv
import io
from typing import Any, BinaryIO

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.outputs.sink import PLAIN, Layout, Record, encode

_ANSWER = "id label probability decided runner_up gap gap_low gap_high draws evaluations"
COLUMNS = tuple(f"{_ANSWER} error_kind error fingerprint".split())
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class _Columns:
    """What CSV and TSV share: which cells there are, in which order."""

    def __init__(self, layout: Layout = PLAIN) -> None:
        self._top = layout.top

    def open(self, stream: BinaryIO) -> None:
        """Write the header."""
        self._stream = stream
        places = range(2, self._top + 1)
        self._row([*COLUMNS, *(f"{name}_{place}" for place in places for name in ("label", "probability"))])

    def write(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Write a record's row."""
        self._row([_text(cell) for cell in cells(record, self._top)])

    def close(self, complete: bool = True) -> None:
        """Flush."""
        self._stream.flush()

    def _row(self, row: list[str]) -> None:
        self._stream.write(encode(self._joined(row)))
        self._stream.flush()

    def _joined(self, row: list[str]) -> str:
        raise NotImplementedError


class Csv(_Columns):
    """Comma-separated rows."""

    def _joined(self, row: list[str]) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\r\n").writerow(row)  # with this end, a lone \r in a cell gets its quotes
        return buffer.getvalue().removesuffix("\r\n") + "\n"


class Tsv(_Columns):
    """Tab-separated rows, one line each whatever the cells hold."""

    def _joined(self, row: list[str]) -> str:
        return "\t".join(cell.translate(_ESCAPES) for cell in row) + "\n"


def cells(record: Record, top: int) -> list[Any]:
    """Return a record's values in the order of the columns, None where it has none."""
    low, high = record.get("gap_interval") or (None, None)
    error = record.get("error") or {}
    known = {
        **record,
        "gap_low": low,
        "gap_high": high,
        "error_kind": error.get("kind"),
        "error": error.get("message"),
        "fingerprint": (record.get("settings") or {}).get("fingerprint"),
    }
    ranked = record.get("top", [])[1:top]
    further = [standing[name] for standing in ranked for name in ("label", "probability")]
    absent = [None] * (2 * (top - 1) - len(further))
    return [known.get(column) for column in COLUMNS] + further + absent


def _text(cell: Any) -> str:
    """Write a value as JSON would, strings bare and nothing for None."""
    if cell is None:
        return ""
    return str(cell).lower() if isinstance(cell, bool) else str(cell)
