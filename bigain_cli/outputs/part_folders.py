"""A hidden folder beside a file that is being written: its unfinished content, and a lock that ends with the process.

So what a killed process has left is told from what another one is writing, and is removed at the next start.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from functools import cache
from pathlib import Path

from bigain_cli.errors import UsageError
from bigain_cli.outputs.locks import is_at, lock
from bigain_cli.outputs.shield import SHIELD

PREFIX, SUFFIX = ".bigain-", ".part"
CONTENT, LOCK = "content", "lock"
TRIES, PAUSE = 10, 0.02  # whoever removes a folder that was left holds its lock for a moment


class PartFolder:
    """The folder of one file; with `alone`, another process that wants to write the same file is refused."""

    def __init__(self, final: Path, path: str, alone: bool = False) -> None:
        self._final, self._path, self._alone = final, path, alone
        self._folder: Path | None = None
        self._lock: int | None = None

    @property
    def content(self) -> Path:
        """Where to write what is to get the final name."""
        assert self._folder is not None
        return self._folder / CONTENT

    def make(self) -> None:
        """Make the folder, and lock it; first remove what dead processes left beside it."""
        remove_leftovers(self._final.parent)
        with SHIELD:
            for _ in range(TRIES):
                if self._tried():
                    return
                time.sleep(PAUSE)
        raise in_use(self._path)

    def remove(self) -> None:
        """Remove the folder, and whatever is still in it."""
        with SHIELD:
            if self._folder is not None:
                _remove(self._folder, self._lock)
                self._folder = self._lock = None

    def _tried(self) -> bool:
        """Make and lock the folder, if nobody has it."""
        name = _digest(self._final.name) if self._alone else os.urandom(6).hex()
        folder = self._final.with_name(f"{PREFIX}{name}{SUFFIX}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)
        try:
            descriptor = _open_lock(folder)
        except FileNotFoundError:  # removed as one that was left
            return False
        except PermissionError:  # that of another user, who may have left it
            if not self._alone:
                raise
            self._alone = False
            return False
        held = lock(descriptor)
        if held and is_at(descriptor, folder / LOCK):
            self._folder, self._lock = folder, descriptor
            _clear(folder)
            return True
        os.close(descriptor)
        if held is None and not self._alone:
            self._folder = folder
            return True
        if held is None:  # where nobody can tell whether it was left, no two processes may have the same
            self._alone = False
            _remove(folder, None)
        return False


@cache  # once in a process is enough
def remove_leftovers(folder: Path) -> None:
    """Remove what processes of this user that have ended have left in a folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [each.name for each in entries if each.name.startswith(PREFIX) and each.name.endswith(SUFFIX)]
        for name in names:
            with contextlib.suppress(OSError), SHIELD:
                _remove_leftover(folder / name)


def in_use(path: str) -> UsageError:
    """Return the error for a file that another process is writing."""
    return UsageError(path, "another bigain is writing it", "Wait until that has ended, or name another file.")


def _remove_leftover(folder: Path) -> None:
    """Remove a folder that nobody has locked."""
    if folder.is_symlink() or not folder.is_dir() or not _is_own(folder):
        return
    descriptor = _open_lock(folder)
    if lock(descriptor) and is_at(descriptor, folder / LOCK):
        _remove(folder, descriptor)
    else:
        os.close(descriptor)


def _is_own(folder: Path) -> bool:
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


def _open_lock(folder: Path) -> int:
    return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)


def _remove(folder: Path, descriptor: int | None) -> None:
    """Remove a folder, and the file that locks it last."""
    _clear(folder)
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink()
    if descriptor is not None:
        os.close(descriptor)
    with contextlib.suppress(OSError):  # not empty: another process has begun to use it
        folder.rmdir()


def _clear(folder: Path) -> None:
    """Remove the files in a folder but the one that locks it."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name != LOCK:
                path.unlink()


def _digest(name: str) -> str:
    return hashlib.blake2b(os.fsencode(name), digest_size=6).hexdigest()
