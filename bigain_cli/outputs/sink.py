"""What every output format fulfils: open a stream, write records one by one, end them without closing the stream.

A sink is built with a `Layout`; formats take from it what concerns them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, TypeVar

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.outputs.files import explained

Record = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """What a run knows before its first record."""

    labels: tuple[str, ...] = ()  # all that are in the contest
    top: int = 1  # of them, how many to show
    colour: bool = False
    reject: bool = False  # whether "none" is among the labels


PLAIN = Layout()


S = TypeVar("S", bound="Sink")


class Sink(Protocol):
    """One format's writer; valid output also when it is closed early."""

    def __init__(self, layout: Layout = PLAIN) -> None: ...

    def open(self, stream: BinaryIO) -> None:
        """Begin the output on a stream that stays the caller's."""

    def write(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Write one record; formats that show more find it in the whole result."""

    def close(self, complete: bool = True) -> None:
        """End the output and flush it; the stream stays open. Not `complete`: the run was stopped before its end."""


@contextmanager
def opened(sink: S, stream: BinaryIO, target: str) -> Iterator[S]:
    """Open a sink, and close it so that its output is valid however the work ends.

    A write that fails is explained with the target's name; nothing more is written after it.
    """
    with explained(target):
        sink.open(stream)
        try:
            yield sink
        except OSError:
            raise
        except BaseException:
            sink.close(complete=False)
            raise
        sink.close()


def encode(text: str) -> bytes:
    r"""Encode as UTF-8; the bytes of undecodable file names become `\udcXX`, which JSON reads back."""
    return text.encode("utf-8", "backslashreplace")
