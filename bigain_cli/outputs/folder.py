"""A folder for pictures of a run: made before any work is done, and a file name for every id.

Names stay inside the folder whatever the ids are, and different ids never share one.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from bigain_cli.errors import UsageError
from bigain_cli.outputs.files import explained

_PLAIN = re.compile(r"\w[\w.() -]*")
LONGEST = 120  # bytes of a plain name: file systems allow 255, and there are temporary names beside it
_MARKED = re.compile(r".*-[0-9a-f]{12}")


def check_folder(path: str) -> None:
    """Refuse a folder that cannot be made or written to, without making it."""
    folder = Path(path).absolute()
    above = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not os.path.isdir(above):
        why = "exists and is no folder" if above == folder else f"cannot be made ({above} is no folder)"
        raise UsageError(path, why, "Name another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        why = "no permission to write here" if above == folder else f"cannot be made (no permission in {above})"
        raise UsageError(path, why, "Name another folder, or check the permissions")


def make_folder(path: str) -> Path:
    """Make the folder, or say why it cannot be written to."""
    check_folder(path)
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(path, f"cannot be made ({error.strerror})", "Name another folder") from error
    return folder


def name_of(id: str, suffix: str) -> str:
    """Return a plain file name as it is, and of anything else what is readable and a mark that tells it from others."""
    if _PLAIN.fullmatch(id) and not _MARKED.fullmatch(id) and len(os.fsencode(id)) <= LONGEST:
        return id + suffix
    mark = hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    last = id.rstrip("/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    last = re.sub(r"[^\w.()-]+", "_", stem).strip("._-")
    last = last.encode("utf-8", "ignore")[:LONGEST].decode("utf-8", "ignore")
    return f"{last or 'image'}-{mark}{suffix}"


def save(folder: Path, name: str, data: bytes) -> Path:
    """Write a file whole or not at all; one of the same name is replaced."""
    target = folder / name
    temporary = folder / f".bigain-{os.getpid()}-{os.urandom(4).hex()}.part"
    try:
        with explained(str(target)):
            temporary.write_bytes(data)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
