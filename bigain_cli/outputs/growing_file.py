"""A file that grows in place, line by line: locked while it does, and looked for after every line.

What was in it before stays until the first line is written.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.locks import is_at, lock
from bigain_cli.outputs.part_folders import in_use, remove_leftovers
from bigain_cli.outputs.rescue import OpenFile, saved_elsewhere
from bigain_cli.outputs.shield import SHIELD
from bigain_cli.outputs.target_stream import TargetStream, WriteError, name_open_errors, name_write_errors

FLAGS = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)


class GrowingStream(TargetStream):
    """Writes whole lines: one that does not fit on the disk is taken back."""

    def __init__(self, descriptor: int, path: str, replace: bool) -> None:
        super().__init__(descriptor, path)
        self._replace = replace
        self._has_place = is_at(descriptor, path)  # some network disks number their files anew each time

    def write(self, data: Any) -> int:
        """Write lines; raise an error if the file is not at its path any more."""
        with SHIELD:
            self.begin()
            before = os.fstat(self.descriptor).st_size
            try:
                size = super().write(data)
            except WriteError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self.descriptor, before)
                raise
            self.check_place()
        return size

    def begin(self) -> None:
        """Drop what was in the file, if it is to be replaced."""
        if self._replace:
            with name_write_errors(self.path):
                os.ftruncate(self.descriptor, 0)
            self._replace = False

    def check_place(self) -> None:
        """Raise an error if the file was deleted or replaced, and save what was written to it."""
        gone = not os.path.lexists(self.path)
        if not gone and (not self._has_place or is_at(self.descriptor, self.path)):
            return
        self.failed = True
        why = f"was {'deleted' if gone else 'replaced'} while it was being written"
        raise WriteError(self.path, why, saved_elsewhere(OpenFile(self.descriptor), self.path))


@contextmanager
def growing_file(path: str, replace: bool, append: bool) -> Iterator[GrowingStream]:
    """Yield a stream that appends to a file, which another process may not do until the end of the block."""
    remove_leftovers(Path(path).resolve().parent)
    with SHIELD:
        descriptor, is_new = _opened(path)
        if lock(descriptor) is False:
            os.close(descriptor)
            raise in_use(path)
        if not (replace or append) and os.fstat(descriptor).st_size:
            os.close(descriptor)
            raise UsageError(path, "exists", "--resume to continue, --force to replace.")
        stream = GrowingStream(descriptor, path, replace)
    try:
        yield stream
        with SHIELD:
            stream.begin()
            stream.check_place()
            is_new = False
    except (KeyboardInterrupt, BigainError):
        if stream.begun and not stream.failed:
            stream.check_place()
        raise
    finally:
        with SHIELD:
            _closed(stream, is_new)


def _opened(path: str) -> tuple[int, bool]:
    """Open a file, and return whether it is a new one."""
    with name_open_errors(path):
        try:
            return os.open(path, FLAGS | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            return os.open(path, FLAGS | os.O_CREAT, 0o666), False


def _closed(stream: GrowingStream, is_new: bool) -> None:
    """Close a file; remove a new one that nothing was written to."""
    with contextlib.suppress(OSError):  # a device cannot be synced
        os.fsync(stream.descriptor)
        if is_new and not os.fstat(stream.descriptor).st_size and is_at(stream.descriptor, stream.path):
            os.unlink(stream.path)
    stream.close()
