"""A file that is written in a hidden folder beside its place, and gets its final name when it is whole."""

# os.path returns False where pathlib raises: names that are too long, folders without permission.
from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from bigain_cli.errors import BigainError
from bigain_cli.outputs.full_disk import MovingStream
from bigain_cli.outputs.part_folders import PartFolder
from bigain_cli.outputs.rescue import OpenFile, saved_elsewhere
from bigain_cli.outputs.shield import SHIELD
from bigain_cli.outputs.target_stream import (
    TargetStream,
    WriteError,
    name_open_errors,
    name_write_errors,
    open_descriptor,
)


@contextmanager
def replacing(final: Path, path: str, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path; the file that is written there gets the final name at the end, or else is removed.

    Messages name the `path` that the user gave.
    """
    part = PartFolder(final, path)
    try:
        with name_write_errors(path):
            part.make()
        yield part.content
        with SHIELD, name_write_errors(path):
            put_in_place(part.content, final, force)
    finally:
        part.remove()


@contextmanager
def whole_file(final: Path, path: str, force: bool, alone: bool = False) -> Iterator[TargetStream]:
    """Yield the stream of a file that gets its final name at the end; `alone`: no other process may write it, too.

    What was written is kept after success, Ctrl-C or a `BigainError`, and discarded after a failed write or anything
    else. What cannot have its final name, or has no room on its disk, is saved elsewhere.
    """
    part = PartFolder(final, path, alone)
    try:
        with name_open_errors(path):
            part.make()
        stopped: BaseException | None = None
        descriptor = open_descriptor(part.content, os.O_RDWR | os.O_CREAT | os.O_EXCL, path)
        with closing(MovingStream(descriptor, path)) as stream, ExitStack() as unless_kept:
            unless_kept.callback(stream.discard)
            try:
                yield stream
            except (KeyboardInterrupt, BigainError) as problem:
                if stream.failed or not stream.begun or (isinstance(problem, WriteError) and problem.what == path):
                    raise
                stopped = problem
            with SHIELD:
                stream.sync()
                stream.check_place()
                if os.name == "nt":  # where an open file cannot be renamed
                    stream.close()
                _put_or_save(stream, part.content, final, force)
        if stopped is not None:
            raise stopped
    finally:
        part.remove()


def _put_or_save(stream: TargetStream, content: Path, final: Path, force: bool) -> None:
    """Give a file its final name; if it cannot have that any more, save it elsewhere and say where."""
    try:
        put_in_place(content, final, force)
    except OSError as problem:
        why = f"cannot be written ({problem.strerror})"
        if not os.path.isdir(final.parent):
            why = "cannot be written, because its folder is gone"
        elif os.path.isdir(final):
            why = "cannot be written, because a folder of that name has appeared"
        elif isinstance(problem, FileExistsError):
            why = "a file of that name has appeared meanwhile, and is replaced only with --force"
        raise WriteError(stream.path, why, saved_elsewhere(OpenFile(stream.descriptor), str(final))) from problem


def put_in_place(content: Path, final: Path, force: bool) -> None:
    """Sync a file to the disk and give it its final name; one that is replaced passes its permissions on."""
    if not content.is_symlink():
        with content.open("rb") as file:
            os.fsync(file.fileno())
        with suppress(OSError):
            content.chmod(stat.S_IMODE(final.lstat().st_mode))
    if force:
        content.replace(final)
    else:
        _link(content, final)
    with suppress(OSError):  # not everywhere can a folder be opened
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _link(content: Path, final: Path) -> None:
    """Give a file its final name, if nothing has that."""
    try:
        os.link(content, final)
    except FileExistsError:
        raise
    except OSError as problem:  # this disk has no links
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from problem
        content.replace(final)
