"""What every output format fulfils: open a stream, write records one by one, end them without closing the stream.

A writer is built with a `Layout`; formats use the part of it that they need.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.errors import UsageError
from bigain_cli.outputs.full_disk import MovingStream
from bigain_cli.outputs.shield import SHIELD
from bigain_cli.outputs.target_stream import WriteError, name_write_errors
from bigain_cli.registry import OUTPUTS

Record = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """What is known before the first record of a run."""

    labels: tuple[str, ...] = ()  # all that can be ranked
    top: int = 1  # how many of them to show
    colour: bool = False
    reject: bool = False  # whether "none" is among the labels
    width: int | None = None  # cells of a line; without, lines are as long as they have to be
    min_probability: float | None = None  # below it the answer is "unsure"
    raw: bool = False  # whether cells of CSV and TSV are as they are, formulas, too


PLAIN = Layout()


class OutputFormat:
    """One format's writer; its output is valid also when it is closed early. A format overrides `add` at least."""

    has_records = False

    def __init__(self, layout: Layout = PLAIN) -> None:
        self._layout = layout

    def open(self, stream: BinaryIO) -> None:
        """Begin the output on a stream that the caller opens and closes."""
        self._stream = stream

    def write(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Write one record; formats that show more find it in the whole result."""
        self.has_records = True
        self.add(record, result)

    def add(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Do what `write` says."""
        raise NotImplementedError

    def close(self, complete: bool = True) -> None:
        """End the output and flush it; the stream stays open. Not `complete`: the run was stopped before its end."""
        self._stream.flush()


def require_format(name: str, what: str) -> None:
    """Refuse a format whose library is not installed."""
    library = OUTPUTS[name].needs
    if library and importlib.util.find_spec(library) is None:
        raise UsageError(what, f"{library} writes it, and it is not installed", f"pip install 'bigain[{name}]'")


W = TypeVar("W", bound=OutputFormat)


@contextmanager
def opened(writer: W, stream: BinaryIO, target: str) -> Iterator[W]:
    """Open a writer, and close it so that its output is valid however the work ends.

    A write that fails raises an error with the target's name; nothing is written after it. A signal waits until the
    end is written. A file that would have no record, because the work ended early, counts as not begun.
    """
    with name_write_errors(target):
        writer.open(stream)
        try:
            yield writer
        except BaseException as problem:
            if not isinstance(problem, OSError) and not (isinstance(problem, WriteError) and problem.what == target):
                with SHIELD:
                    writer.close(complete=False)
            if isinstance(stream, MovingStream) and not writer.has_records:
                stream.begun = False
            raise
        with SHIELD:
            writer.close()


def encode(text: str) -> bytes:
    r"""Encode as UTF-8; the bytes of undecodable file names become `\udcXX`, which JSON reads back."""
    return text.encode("utf-8", "backslashreplace")
