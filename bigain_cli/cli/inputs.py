"""The images of a request: arguments first, then the paths of a list, lazily."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

from bigain_cli.cli.request import Request
from bigain_cli.errors import UsageError
from bigain_cli.images import Source, find, listed


def sources(request: Request, open_files: ExitStack) -> Iterator[Source]:
    """Yield every image of a request."""
    paths: Iterator[str] = iter(())
    if request.files_from is not None:
        paths = listed(_list(request.files_from, open_files), request.null)
    free = None if request.files_from == "-" else _stdin()  # a list on stdin leaves no room for an image
    return find(itertools.chain(request.inputs, paths), request.recursive, free)


def _list(name: str, open_files: ExitStack) -> BinaryIO:
    if name == "-":
        return _stdin()
    try:
        return open_files.enter_context(open(name, "rb"))
    except OSError as problem:
        raise UsageError(
            f"--files-from {name}", problem.strerror or str(problem), "Give a file of paths, or - for stdin."
        ) from problem


def _stdin() -> BinaryIO:
    """Return stdin unbuffered: a thread may wait on it while the process ends."""
    return io.FileIO(0, closefd=False)
