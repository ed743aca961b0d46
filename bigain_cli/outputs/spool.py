"""Bytes to be read again later: in memory while they are few, and then in a file for temporary ones.

Where that has no room, what was written before is still there.
"""

from __future__ import annotations

import io
import tempfile
from typing import Any, BinaryIO

from bigain_cli.outputs.target_stream import name_write_errors

MEMORY = 16 << 20  # bytes
PIECE = 1 << 16  # bytes that are copied at once


class Spool:
    """Grows at its end, and is read as a whole or in places."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory, self._size = memory, 0
        self._file: Any = io.BytesIO()

    def write(self, data: bytes) -> int:
        """Write at the end, or raise an error that names the folder for temporary files; return where it begins."""
        start, end = self._size, self._size + len(data)
        if end <= self._memory:
            self._file.seek(start)
            self._file.write(data)
        else:
            self._write_to_file(start, data)
        self._size = end
        return start

    def _write_to_file(self, start: int, data: bytes) -> None:
        with name_write_errors(tempfile.gettempdir()):
            if isinstance(self._file, io.BytesIO):
                self._file = _moved(self._file)
            self._file.seek(start)
            _write_whole(self._file, data)

    def read(self, start: int, length: int) -> bytes:
        """Return what is in one place."""
        self._file.seek(start)
        content: bytes = self._file.read(length)
        return content

    def copy_to(self, stream: BinaryIO) -> None:
        """Write everything to a stream."""
        self._file.seek(0)
        left = self._size
        while left and (data := self._file.read(min(left, PIECE))):
            stream.write(data)
            left -= len(data)

    def close(self) -> None:
        """Drop everything."""
        self._file.close()


def _moved(memory: io.BytesIO) -> Any:
    """Return a file with the content of another; it has no name, and no buffer whose errors would come late."""
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (open until close)
    try:
        _write_whole(file, memory.getvalue())
    except BaseException:
        file.close()
        raise
    return file


def _write_whole(file: Any, data: Any) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
