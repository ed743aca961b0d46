"""Open a file for a run's records so that under its final name there is never half a document.

JSON Lines grow in place, line by line; anything else is written under a temporary name and renamed at the end.
"""

# os.path says no where pathlib raises: names too long, folders that are closed.
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.text import counted

IN_PLACE = (".jsonl", ".ndjson")


@contextmanager
def open_target(path: str, force: bool = False, append: bool = False) -> Iterator[BinaryIO]:
    """Lend a stream for the file: kept after success, Ctrl-C or an error of ours, thrown away after anything else.

    What grows in place stays as it is either way: each of its lines is whole.
    """
    check_target(path, force, append)
    target = Path(path)
    if append or target.suffix.lower() in IN_PLACE or _is_special(target):
        with _opened(target, "ab" if append else "wb", path) as stream:
            yield stream
        return
    final = target.resolve()  # a link stays a link
    temporary = final.with_name(f".bigain-{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        with _opened(temporary, "xb", path) as stream:
            try:
                yield stream
            except (KeyboardInterrupt, BigainError):
                _settle(stream, temporary, final, path)
                raise
            _settle(stream, temporary, final, path)
    finally:
        temporary.unlink(missing_ok=True)  # once renamed it is there no more


def write_whole(path: str, data: bytes, force: bool = False) -> None:
    """Write a file in one piece: after whatever interruption it is there as a whole, or as it was before."""
    check_target(path, force)
    target = Path(path)
    if _is_special(target):
        with _opened(target, "wb", path) as stream:
            stream.write(data)
        return
    final = target.resolve()  # a link stays a link
    temporary = final.with_name(f".bigain-{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        with _opened(temporary, "xb", path) as stream:
            _write(stream, data, path)
            _settle(stream, temporary, final, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_target(path: str, force: bool = False, append: bool = False) -> None:
    """Refuse what cannot or should not be written, before any work is done."""
    target = Path(path)
    folder = target.parent
    if os.path.isdir(target):
        raise UsageError(path, "a folder, not a file", "Name a file in it")
    if not os.path.isdir(folder):
        why = "is not a folder" if os.path.exists(folder) else "does not exist"
        raise UsageError(path, f"the folder {folder} {why}", f"Make it first: mkdir -p {folder}")
    if os.path.lexists(path) and not _is_special(target) and not (force or append):
        go_on = "--resume to continue, " if target.suffix.lower() in IN_PLACE else ""
        raise UsageError(path, "exists", f"{go_on}--force to replace")
    if not os.access(target if os.path.exists(target) else folder, os.W_OK):
        raise UsageError(path, "no permission to write here", "Name another file, or check the permissions")


def check_new(paths: Sequence[str], force: bool) -> None:
    """Refuse to replace files, unless that is wanted."""
    there = [path for path in paths if os.path.lexists(path) and not _is_special(Path(path))]
    if there and not force:
        more = f", and {counted(len(there) - 1, 'other')}" if len(there) > 1 else ""
        raise UsageError(there[0], f"exists{more}", "--force to replace, or another -o")


def _opened(actual: Path, mode: Literal["ab", "wb", "xb"], path: str) -> BinaryIO:
    """Open a file for writing; messages name the path that the user gave."""
    try:
        return actual.open(mode)
    except OSError as error:
        raise UsageError(path, f"cannot be written ({error.strerror})", "Name another file") from error


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Name the target of a write that fails; a closed pipe is no failure."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise BigainError(path, f"cannot be written ({error.strerror})", "Check the disk.") from error


def _write(stream: BinaryIO, data: bytes, path: str) -> None:
    with explained(path):
        stream.write(data)


def _settle(stream: BinaryIO, temporary: Path, final: Path, path: str) -> None:
    """Bring the bytes to the disk and give them their final name."""
    with explained(path):
        stream.flush()
        os.fsync(stream.fileno())
        temporary.replace(final)


def _is_special(target: Path) -> bool:
    """Tell a pipe or a device, such as /dev/stdout, from a file."""
    return os.path.exists(target) and not os.path.isfile(target)
