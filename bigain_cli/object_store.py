"""Objects of s3:// and gs://, read and written whole; fsspec knows the protocols.

Credentials are those of the machine; they are never part of an address. What goes wrong is a `BigainError`.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bigain_cli.errors import BigainError, UsageError, one_line

LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}  # what fsspec needs for each
WRITABLE = ("s3", "gs")
_LONGEST_REASON = 200
_TRIES, _PAUSE = 3, 0.5  # to create an object, and seconds between two
_VERSION = ("ETag", "etag", "generation")  # by which stores name what an object holds


def missing_library(url: str) -> str | None:
    """Return the name of a library that this address needs and that is not installed."""
    needed = ("fsspec", LIBRARIES[scheme_of(url)])
    return next((name for name in needed if importlib.util.find_spec(name) is None), None)


def scheme_of(url: str) -> str:
    """Return the protocol of an address."""
    return url.partition("://")[0].lower()


class ObjectStore:
    """The objects whose addresses begin with one: each is written by one request, whole or not at all."""

    def __init__(self, url: str) -> None:
        scheme, mark, rest = url.partition("://")
        self.url = f"{scheme.lower()}{mark}{rest.rstrip('/')}"
        self._opened: tuple[int, Any, str] | None = None

    def check(self) -> None:
        """Refuse an address that cannot be written to, before any work is done."""
        if scheme_of(self.url) not in WRITABLE or self.url.endswith(":"):
            raise UsageError(self.url, "results are written to folders, s3:// and gs:// only", "Name one of these.")
        missing = missing_library(self.url)
        if missing:
            why = f"{scheme_of(self.url)}:// needs {missing}, which is not installed"
            raise UsageError(self.url, why, "pip install 'bigain[remote]'")

    def check_bucket(self) -> None:
        """Refuse a bucket that does not exist."""
        with self._explained("", "read"):
            scheme, _, rest = self.url.partition("://")
            bucket = rest.partition("/")[0]
            try:
                self._files()[0].info(f"{scheme}://{bucket}")
            except PermissionError:  # one may be allowed to write objects, and not to look at the bucket
                return
            except FileNotFoundError as problem:
                raise UsageError(self.url, f"there is no bucket {bucket}", "Is its name right?") from problem

    def name_of(self, name: str) -> str:
        """Return the address of an object."""
        return f"{self.url}/{name}"

    def names(self, folder: str = "") -> list[str]:
        """Return the names of the objects directly under the address, or under a folder there."""
        with self._explained(folder, "listed"):
            files, root = self._files()
            try:
                found = files.ls(f"{root}/{folder}".rstrip("/"), detail=False)
            except FileNotFoundError:
                return []
            names = (str(path).removeprefix(f"{root}/{folder}".rstrip("/")).strip("/") for path in found)
            return [name for name in names if name]  # without an empty object that stands for the folder

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes, or None if there is no such object."""
        with self._explained(name, "read"):
            files, root = self._files()
            try:
                data: bytes = files.cat_file(f"{root}/{name}")
            except FileNotFoundError:
                return None
            return data

    def size(self, name: str) -> int | None:
        """Return how many bytes an object has, or None if there is none."""
        found = self._info(name)
        return None if found is None else int(found["size"])

    def state(self, name: str) -> str | None:
        """Return a text that changes when the object does, or None if there is none."""
        found = self._info(name)
        if found is None:
            return None
        version = next((str(found[key]) for key in _VERSION if key in found), None)
        return f"{found['size']} {version or found.get('LastModified') or found.get('mtime')}"

    def write(self, name: str, data: bytes) -> None:
        """Write an object; one of the same name is replaced."""
        with self._explained(name, "written"):
            files, root = self._files()
            files.pipe_file(f"{root}/{name}", data)

    def create(self, name: str, path: Path) -> bool:
        """Write a file's bytes as a new object; False: there is one already, which stays."""
        with self._explained(name, "written"):
            files, root = self._files()
            tries_left = _TRIES
            while True:
                try:
                    files.put_file(str(path), f"{root}/{name}", mode="create")
                    return True
                except FileExistsError:
                    return False
                except OSError:  # not every store says so in the same words
                    tries_left -= 1
                    if self.size(name) is not None:
                        return False
                    if not tries_left:
                        raise
                    time.sleep(_PAUSE)

    def download(self, name: str, path: Path) -> None:
        """Copy an object into a file."""
        with self._explained(name, "read"):
            files, root = self._files()
            files.get_file(f"{root}/{name}", str(path))

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self._explained(name, "removed"):
            files, root = self._files()
            try:
                files.rm_file(f"{root}/{name}")
            except FileNotFoundError:
                return

    def _info(self, name: str) -> dict[str, Any] | None:
        with self._explained(name, "read"):
            files, root = self._files()
            try:
                found: dict[str, Any] = files.info(f"{root}/{name}")
            except FileNotFoundError:
                return None
            return found if found["type"] == "file" else None

    def _files(self) -> tuple[Any, str]:
        """Return the file system of this process, which remembers no listing, and the path on it."""
        if self._opened is None or self._opened[0] != os.getpid():
            import fsspec

            files, root = fsspec.url_to_fs(self.url, use_listings_cache=False, skip_instance_cache=True)
            self._opened = os.getpid(), files, root
        return self._opened[1:]

    @contextmanager
    def _explained(self, name: str, done: str) -> Iterator[None]:
        what = self.name_of(name) if name else self.url
        try:
            yield
        except BigainError:
            raise
        except PermissionError as problem:
            raise BigainError(what, "no permission", "Check the credentials.") from problem
        except Exception as problem:  # each store has errors of its own
            why = one_line(problem, _LONGEST_REASON)
            hint = "Check the credentials." if "credential" in why.lower() else "Is the store reachable? Run it again."
            raise BigainError(what, f"cannot be {done} ({why})", hint) from problem
