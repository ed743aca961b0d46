"""Open a source as a stream in which one can seek, and explain why it cannot be opened or read.

A pipe is looked at before it is read to its end. Must not know decoders.
"""

# os.path returns False where pathlib raises: names that are too long, folders without permission.
from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bigain_cli.errors import InputError
from bigain_cli.images.formats import HEAD, format_of
from bigain_cli.images.sources import Source
from bigain_cli.images.urls import is_stored

LONGEST_PIPE = 1 << 28  # bytes
_PIECE = 1 << 20  # bytes
PATIENCE, PAUSE = 10.0, 0.02  # seconds that a named pipe may have no writer, and between two looks


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """Yield the source's stream."""
    if source.stream is not None:
        yield _read_pipe(source.stream, source.id)
        return
    if source.path is None:
        yield io.BytesIO(_data_of(source))
        return
    try:
        if Path(source.path).is_fifo():
            yield _read_named_pipe(source.path, source.id)
            return
        with Path(source.path).open("rb") as file:
            yield file if file.seekable() else _read_pipe(file, source.id)
    except (OSError, ValueError) as error:
        raise _open_error(source.id, source.path, error) from error


def _read_named_pipe(path: str, name: str) -> BinaryIO:
    """Read a named pipe to its end; refuse one that nobody writes to, which would be waited for without end."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
        until = time.monotonic() + PATIENCE
        while (first := pipe.read(HEAD)) == b"":  # it has no writer; None: it has one, who has not written yet
            if time.monotonic() > until:
                raise InputError("unreadable-image", name, "a pipe that nobody writes to", "Name a file")
            time.sleep(PAUSE)
        os.set_blocking(pipe.fileno(), True)
        return _read_pipe(pipe, name, first or b"")


def held(source: Source) -> Source:
    """Return a source that can be read twice: a file as it is, anything else with its bytes or its error."""
    if source.error is not None or (source.path is not None and os.path.isfile(source.path)):
        return source
    try:
        with opened(source) as stream:
            return Source(source.id, data=stream.read())
    except InputError as error:
        return Source(source.id, error=error)


def _data_of(source: Source) -> bytes:
    """Return the bytes of a source that is not a path: those it holds, or those behind its URL."""
    if source.url is None:
        return source.data or b""
    if is_stored(source.url):
        from bigain_cli.images.remote_files import read_remote

        return read_remote(source.url)
    from bigain_cli.images.fetching import fetch

    return fetch(source.url)


def _read_pipe(pipe: BinaryIO, name: str, first: bytes = b"") -> BinaryIO:
    """Read a pipe to its end, if it begins as an image does and ends before the limit; `first` is what was read."""
    data = io.BytesIO()
    data.write(first)
    _copy(pipe, data, HEAD)
    format_of(data.getvalue(), name)
    _copy(pipe, data, LONGEST_PIPE + 1)
    if data.tell() > LONGEST_PIPE:
        why = f"more than {LONGEST_PIPE >> 20} MiB from a pipe"
        raise InputError("too-large", name, why, "Save it to a file, and name that")
    data.seek(0)
    return data


def _copy(pipe: BinaryIO, data: BinaryIO, size: int) -> None:
    """Read until there are so many bytes, or to the end: one call may return less."""
    while (missing := size - data.tell()) > 0 and (piece := pipe.read(min(missing, _PIECE))):
        data.write(piece)


def _open_error(name: str, path: str, error: OSError | ValueError) -> InputError:
    """Return the error for a file that cannot be opened or read."""
    if isinstance(error, PermissionError):
        return InputError("permission-denied", name, "no permission to read it", "Check its permissions")
    if isinstance(error, IsADirectoryError):
        return InputError("is-a-folder", name, "a folder, not a file", "Name the files in it")
    if os.path.islink(path) and not os.path.exists(path):
        return InputError("not-found", name, f"a link to {os.readlink(path)}, which is missing", "Repair the link")
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return InputError("not-found", name, "no such file", "Check the path")
    return InputError("unreadable-image", name, f"cannot be read ({error.strerror})", "Check the disk")
