"""Records as JSON: one array for a whole run, or one flushed line for each image."""

from __future__ import annotations

import json
from typing import BinaryIO

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.outputs.sink import PLAIN, Layout, Record, encode


class Json:
    """An array of records, one a line."""

    def __init__(self, layout: Layout = PLAIN) -> None:
        self._before = b"\n"

    def open(self, stream: BinaryIO) -> None:
        """Begin the array."""
        self._stream = stream
        stream.write(b"[")

    def write(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Add a record to the array."""
        self._stream.write(self._before + line(record))
        self._before = b",\n"

    def close(self, complete: bool = True) -> None:
        """End the array."""
        self._stream.write(b"]\n" if self._before == b"\n" else b"\n]\n")
        self._stream.flush()


class JsonLines:
    """A line a record, each flushed before the next one is worked on."""

    def __init__(self, layout: Layout = PLAIN) -> None:
        """Take a layout for the sake of a common call."""

    def open(self, stream: BinaryIO) -> None:
        """Keep the stream."""
        self._stream = stream

    def write(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Write a record's line in one piece."""
        self._stream.write(line(record) + b"\n")
        self._stream.flush()

    def close(self, complete: bool = True) -> None:
        """Flush."""
        self._stream.flush()


def line(record: Record) -> bytes:
    """Return a record as one line of JSON, without its end; a number that is none is an error of ours."""
    return encode(json.dumps(record, ensure_ascii=False, allow_nan=False))
