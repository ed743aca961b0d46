"""Write files so that there is never half a document under the final name; refuse what cannot be written; folders.

JSON Lines grow in place, line by line; anything else is written in a hidden folder and renamed at the end.
"""

# os.path returns False where pathlib raises: names that are too long, folders without permission.
from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bigain_cli.errors import UsageError
from bigain_cli.images.urls import is_url
from bigain_cli.outputs.growing_file import growing_file
from bigain_cli.outputs.part_folders import PartFolder, remove_leftovers
from bigain_cli.outputs.renamed_file import replacing, whole_file
from bigain_cli.outputs.rescue import saved_elsewhere
from bigain_cli.outputs.target_stream import (
    TargetStream,
    WriteError,
    name_open_errors,
    name_write_errors,
    open_descriptor,
)
from bigain_cli.outputs.text import counted

IN_PLACE = (".jsonl", ".ndjson")


@contextmanager
def open_target(path: str, force: bool = False, append: bool = False) -> Iterator[TargetStream]:
    """Yield a stream for the file, which no other process may write until the end of the block.

    What was written is kept after success, Ctrl-C or a `BigainError`, and discarded after a failed write or anything
    else. A file that grows in place is always kept: each of its lines is whole.
    """
    check_target(path, force, append)
    target = Path(path)
    if _is_special(target):
        with closing(TargetStream(open_descriptor(target, os.O_WRONLY, path), path)) as stream:
            yield stream
    elif append or target.suffix.lower() in IN_PLACE:
        with growing_file(path, force, append) as growing:
            yield growing
    else:
        with whole_file(target.resolve(), path, force, alone=True) as stream:  # a link stays a link
            yield stream


@contextmanager
def open_whole(path: str, force: bool = False) -> Iterator[TargetStream]:
    """Yield a stream for what can be made again: if the block does not reach its end, the file is as it was before."""
    check_target(path, force, can_resume=False)
    target = Path(path)
    if _is_special(target):
        with closing(TargetStream(open_descriptor(target, os.O_WRONLY, path), path)) as stream:
            yield stream
        return
    replaces = force or os.path.exists(target)  # it is empty, or it would have been refused
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    with (
        replacing(target.resolve(), path, replaces) as temporary,  # a link stays a link
        closing(TargetStream(open_descriptor(temporary, flags, path), path)) as stream,
    ):
        yield stream


@contextmanager
def held(path: str, name: str = "") -> Iterator[None]:
    """Let no other process hold the file until the end of the block; messages may call it by another `name`."""
    part = PartFolder(Path(path).resolve(), name or path, alone=True)
    try:
        if not _is_special(Path(path)):
            with name_open_errors(path):
                part.make()
        yield
    finally:
        part.remove()


def write_whole(path: str, data: bytes, force: bool = False) -> None:
    """Write a file in one piece: after any interruption it is complete, or as it was before.

    What it is to hold has been made already, so it is saved elsewhere if the file cannot be written.
    """
    target = Path(path)
    if _is_special(target) and not os.path.isdir(target):
        with closing(TargetStream(open_descriptor(target, os.O_WRONLY, path), path)) as stream:
            stream.write(data)
        return
    try:
        with whole_file(target.resolve(), path, force) as stream:  # a link stays a link
            stream.write(data)
    except UsageError as problem:
        raise WriteError(path, problem.why, saved_elsewhere([data], path)) from problem


def save_file(folder: Path, name: str, data: bytes) -> Path:
    """Write a file whole or not at all; one of the same name is replaced."""
    target = folder / name
    with replacing(target, str(target)) as temporary, name_write_errors(str(target)):
        temporary.write_bytes(data)
    return target


def check_target(path: str, force: bool = False, append: bool = False, can_resume: bool = True) -> None:
    """Refuse what cannot or should not be written, before any work is done."""
    target = Path(path)
    folder = target.parent
    refuse_address(path)
    if os.path.isdir(target):
        raise UsageError(path, "a folder, not a file", "Name a file in it.")
    if _is_too_long(path):
        why = f"cannot be written ({os.strerror(errno.ENAMETOOLONG)})"
        raise UsageError(path, why, "Name another file.")
    if os.path.islink(target) and _leads_to_itself(target):
        raise UsageError(path, "a link that leads to itself", "Remove it, or name another file.")
    if not os.path.isdir(folder):
        why = "is not a folder" if os.path.exists(folder) else "does not exist"
        raise UsageError(path, f"the folder {folder} {why}", f"Make it first: mkdir -p {folder}")
    is_empty = target.suffix.lower() in IN_PLACE and os.path.isfile(target) and not os.path.getsize(target)
    if os.path.lexists(path) and not _is_special(target) and not (force or append or is_empty):
        resume = "--resume to continue, " if can_resume and target.suffix.lower() in IN_PLACE else ""
        raise UsageError(path, "exists", f"{resume}--force to replace.")
    if not os.access(target if os.path.exists(target) else folder, os.W_OK):
        raise UsageError(path, "no permission to write here", "Name another file, or check the permissions.")


def refuse_address(path: str) -> None:
    """Refuse an address where a path must be."""
    if is_url(path):
        why = "only a run over shards writes to an object store"
        raise UsageError(path, why, "Add --workers 1 to classify or evaluate, or name a place on a disk.")


def check_new(paths: Sequence[str], force: bool) -> None:
    """Refuse to replace files without `force`."""
    existing = [path for path in paths if os.path.lexists(path) and not _is_special(Path(path))]
    if existing and not force:
        more = f", and {counted(len(existing) - 1, 'other')}" if len(existing) > 1 else ""
        raise UsageError(existing[0], f"exists{more}", "--force to replace, or another -o.")


def _is_too_long(path: str) -> bool:
    """Return whether the file system refuses the name for its length."""
    try:
        os.lstat(path)
    except OSError as problem:
        return problem.errno == errno.ENAMETOOLONG
    return False


def _leads_to_itself(target: Path) -> bool:
    try:
        os.stat(target)
    except OSError as problem:
        return problem.errno == errno.ELOOP
    return False


def _is_special(target: Path) -> bool:
    """Return whether this is a pipe or a device, such as /dev/stdout."""
    return os.path.exists(target) and not os.path.isfile(target)


def check_folder(path: str) -> None:
    """Refuse a folder that cannot be made or written to, without making it."""
    refuse_address(path)
    folder = Path(path).absolute()
    above = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not os.path.isdir(above):
        why = "exists and is no folder" if above == folder else f"cannot be made ({above} is no folder)"
        raise UsageError(path, why, "Name another folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        why = "no permission to write here" if above == folder else f"cannot be made (no permission in {above})"
        raise UsageError(path, why, "Name another folder, or check the permissions.")


def make_folder(path: str) -> Path:
    """Make the folder, or raise the reason why it cannot be written to."""
    check_folder(path)
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(path, f"cannot be made ({error.strerror})", "Name another folder.") from error
    remove_leftovers(folder.resolve())
    return folder
