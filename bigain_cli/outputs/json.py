"""Records as JSON: one array for a whole run, or one flushed line for each image."""

from __future__ import annotations

import json
from typing import BinaryIO

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.outputs.output_format import OutputFormat, Record, encode


class Json(OutputFormat):
    """An array of records, each on a line."""

    def open(self, stream: BinaryIO) -> None:
        """Begin the array."""
        super().open(stream)
        stream.write(b"[")
        self._separator = b"\n"

    def add(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Add a record to the array, at once: whoever reads a pipe may wait for it."""
        self._stream.write(self._separator + line(record))
        self._stream.flush()
        self._separator = b",\n"

    def close(self, complete: bool = True) -> None:
        """End the array."""
        self._stream.write(b"]\n" if self._separator == b"\n" else b"\n]\n")
        super().close(complete)


class JsonLines(OutputFormat):
    """A line for each record, flushed before the next one is computed."""

    def add(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Write a record's line in one piece."""
        self._stream.write(line(record) + b"\n")
        self._stream.flush()


def line(record: Record) -> bytes:
    """Return a record as one line of JSON without a newline; NaN and infinity raise an error."""
    return encode(json.dumps(record, ensure_ascii=False, allow_nan=False))
