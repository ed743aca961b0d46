"""A stream that goes on in the folder for temporary files when its own disk is full, so that nothing is lost.

In: what is written, as to any target; out: the file, or where it is instead.
"""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from bigain_cli.outputs.rescue import OpenFile
from bigain_cli.outputs.shield import SHIELD
from bigain_cli.outputs.target_stream import TargetStream, WriteError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class MovingStream(TargetStream):
    """Writes to its file, or from the first write that finds no room there, to a temporary file."""

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor, path)
        self._place, self._why = "", ""  # where it has moved, and why

    def write(self, data: Any) -> int:
        """Write everything, here or there."""
        with SHIELD:
            before = self.tell()
            try:
                return super().write(data)
            except WriteError as problem:
                if self._place or not _is_full(problem.__cause__) or not self._move(before):
                    raise
                self._why, self.failed = problem.why, False
                return super().write(data)

    def check_place(self) -> None:
        """Raise an error that says where the file is, if it has moved."""
        if self._place:
            place, self._place = self._place, ""
            raise WriteError(self.path, self._why, f"It is in {place} now.")

    def discard(self) -> None:
        """Remove the temporary file, unless somebody was told of it."""
        if self._place:
            with suppress(OSError):
                os.unlink(self._place)

    def _move(self, size: int) -> bool:
        """Copy the first bytes to a temporary file and take its place; say whether there was room."""
        name = Path(self.path)
        with suppress(OSError):
            copy, self._place = tempfile.mkstemp(name.suffix, f"{name.stem[:40]}-")
            try:
                os.ftruncate(self.descriptor, size)
                with open(copy, "wb", closefd=False) as file:
                    file.writelines(OpenFile(self.descriptor))
                os.dup2(copy, self.descriptor)
                return True
            except OSError:
                os.unlink(self._place)
                self._place = ""
            finally:
                os.close(copy)
        return False


def _is_full(cause: BaseException | None) -> bool:
    return isinstance(cause, OSError) and cause.errno in FULL
