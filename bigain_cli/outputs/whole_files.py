"""Write files so that there is never half a document under the final name; folders, and a file name for every id.

JSON Lines grow in place, line by line; anything else is written under a temporary name and renamed at the end.
"""

# os.path returns False where pathlib raises: names that are too long, folders without permission.
from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, Literal

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.text import counted

IN_PLACE = (".jsonl", ".ndjson")
LONGEST = 120  # bytes of a name without its digest; file systems allow 255
_PLAIN = re.compile(r"\w[\w.() -]*")
_NOT_IN_NAMES = re.compile('[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\\\:*?"<>|]+')
_WITH_DIGEST = re.compile(r".*-[0-9a-f]{12}")


@contextmanager
def replacing(final: Path, path: str, temporary: str = "") -> Iterator[Path]:
    """Yield a temporary path in the same folder; the file that is written there gets the final name at the end.

    It is synced to the disk before, and removed after any failure. Messages name the `path` that the user gave.
    """
    part = final.with_name(temporary or f".bigain-{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        yield part
        with name_write_errors(path):
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(final)
    finally:
        part.unlink(missing_ok=True)  # after renaming it is missing


@contextmanager
def open_target(path: str, force: bool = False, append: bool = False) -> Iterator[BinaryIO]:
    """Yield a stream for the file: kept after success, Ctrl-C or a `BigainError`, discarded after anything else.

    A file that grows in place is always kept: each of its lines is whole.
    """
    check_target(path, force, append)
    target = Path(path)
    if append or target.suffix.lower() in IN_PLACE or _is_special(target):
        with _opened(target, "ab" if append else "wb", path) as stream:
            yield stream
        return
    stopped: BaseException | None = None
    with (
        replacing(target.resolve(), path) as temporary,  # a link stays a link
        _opened(temporary, "xb", path) as stream,
    ):
        try:
            yield stream
        except (KeyboardInterrupt, BigainError) as problem:
            stopped = problem
        with name_write_errors(path):
            stream.flush()
    if stopped is not None:
        raise stopped


def write_whole(path: str, data: bytes, force: bool = False) -> None:
    """Write a file in one piece: after any interruption it is complete, or as it was before."""
    check_target(path, force)
    target = Path(path)
    safely = nullcontext(target) if _is_special(target) else replacing(target.resolve(), path)  # a link stays a link
    with safely as actual, name_write_errors(path), _opened(actual, "wb", path) as stream:
        stream.write(data)


def save_file(folder: Path, name: str, data: bytes) -> Path:
    """Write a file whole or not at all; one of the same name is replaced."""
    target = folder / name
    with name_write_errors(str(target)), replacing(target, str(target)) as temporary:
        temporary.write_bytes(data)
    return target


def check_target(path: str, force: bool = False, append: bool = False) -> None:
    """Refuse what cannot or should not be written, before any work is done."""
    target = Path(path)
    folder = target.parent
    if os.path.isdir(target):
        raise UsageError(path, "a folder, not a file", "Name a file in it.")
    if os.path.islink(target) and _leads_to_itself(target):
        raise UsageError(path, "a link that leads to itself", "Remove it, or name another file.")
    if not os.path.isdir(folder):
        why = "is not a folder" if os.path.exists(folder) else "does not exist"
        raise UsageError(path, f"the folder {folder} {why}", f"Make it first: mkdir -p {folder}")
    if os.path.lexists(path) and not _is_special(target) and not (force or append):
        resume = "--resume to continue, " if target.suffix.lower() in IN_PLACE else ""
        raise UsageError(path, "exists", f"{resume}--force to replace.")
    if not os.access(target if os.path.exists(target) else folder, os.W_OK):
        raise UsageError(path, "no permission to write here", "Name another file, or check the permissions.")


def check_new(paths: Sequence[str], force: bool) -> None:
    """Refuse to replace files without `force`."""
    existing = [path for path in paths if os.path.lexists(path) and not _is_special(Path(path))]
    if existing and not force:
        more = f", and {counted(len(existing) - 1, 'other')}" if len(existing) > 1 else ""
        raise UsageError(existing[0], f"exists{more}", "--force to replace, or another -o.")


def _opened(actual: Path, mode: Literal["ab", "wb", "xb"], path: str) -> BinaryIO:
    """Open a file for writing; messages name the path that the user gave."""
    try:
        return actual.open(mode)
    except OSError as error:
        raise UsageError(path, f"cannot be written ({error.strerror})", "Name another file.") from error


@contextmanager
def name_write_errors(path: str) -> Iterator[None]:
    """Turn a failed write into an error that names the target; a closed pipe is passed on."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise BigainError(path, f"cannot be written ({error.strerror})", "Check the disk.") from error


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
    return folder


def file_name(id: str, suffix: str) -> str:
    """Return a plain id with the suffix; of any other id, its readable part and a digest that makes it unique."""
    if _PLAIN.fullmatch(id) and not _WITH_DIGEST.fullmatch(id) and len(os.fsencode(id)) <= LONGEST:
        return id + suffix
    last = id.rstrip("/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    last = re.sub(r"[^\w.()-]+", "_", stem).strip("._-")
    last = last.encode("utf-8", "ignore")[:LONGEST].decode("utf-8", "ignore")
    return f"{last or 'image'}-{_digest(id)}{suffix}"


def folder_name(label: str) -> str:
    """Return a label as the name of a folder; one that cannot be a name everywhere is replaced, with a digest added."""
    plain = _NOT_IN_NAMES.sub("_", label).strip(" .").encode("utf-8", "ignore")[:LONGEST].decode("utf-8", "ignore")
    return label if plain == label else f"{plain.strip(' .') or 'label'}-{_digest(label)}"


def with_digest(name: str, id: str) -> str:
    """Return another name for a file or a folder: one that an id of its own makes unique, with the same suffix."""
    stem, suffix = os.path.splitext(name)
    return f"{os.fsdecode(os.fsencode(stem)[:LONGEST])}-{_digest(id)}{suffix}"


def _digest(id: str) -> str:
    return hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
