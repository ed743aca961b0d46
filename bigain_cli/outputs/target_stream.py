"""The stream of an output: it writes at once, names the target in every error, and knows whether a write has failed."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.shield import SHIELD


class WriteError(BigainError):
    """A file could not be written, or did not keep its place; `what` is the path that the user gave."""


@contextmanager
def name_write_errors(path: str) -> Iterator[None]:
    """Turn a failed write into an error that names the target; a closed pipe is passed on."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
        raise WriteError(path, f"cannot be written ({why})", "Check the disk.") from error


@contextmanager
def name_open_errors(path: str) -> Iterator[None]:
    """Turn what keeps a file from being opened into an error that names the target."""
    try:
        yield
    except OSError as error:
        raise UsageError(path, f"cannot be written ({error.strerror})", "Name another file.") from error


def open_descriptor(actual: str | Path, flags: int, path: str) -> int:
    """Open a file for writing, which is made with the usual permissions if the flags say so."""
    with name_open_errors(path):
        return os.open(actual, flags | getattr(os, "O_BINARY", 0), 0o666)


class TargetStream(io.RawIOBase):
    """A stream without a buffer: what is written is in the file, or it is an error."""

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__()
        self.descriptor, self.path = descriptor, path
        self.begun = self.failed = False  # whether anything was written; whether it could not be

    def writable(self) -> bool:
        """Return that one can write."""
        return True

    def write(self, data: Any) -> int:
        """Write everything."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        with SHIELD:
            self.begun = True
            try:
                with name_write_errors(self.path):
                    while rest:
                        rest = rest[os.write(self.descriptor, rest) :]
            except BaseException:
                self.failed = True
                raise
        return size

    def tell(self) -> int:
        """Return where the next byte goes."""
        return os.lseek(self.descriptor, 0, os.SEEK_CUR)

    def sync(self) -> None:
        """Return once what was written is on the disk."""
        try:
            with name_write_errors(self.path):
                os.fsync(self.descriptor)
        except BaseException:
            self.failed = True
            raise

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            super().close()
            os.close(self.descriptor)
