"""The SHA-256 of an image's file, by which a record knows the image that it is about. Decodes nothing."""

# os.path returns False where pathlib raises: names that are too long, folders without permission.
from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bigain_cli.images.sources import Source

THREADS = 4


def sha256_of(source: Source) -> str | None:
    """Return the digest of a source's bytes; "": there is no file to read; None: it cannot be read twice."""
    if source.error is not None:
        return ""
    if source.data is not None:
        return hashlib.sha256(source.data).hexdigest()
    if source.path is None or (os.path.exists(source.path) and not os.path.isfile(source.path)):
        return None
    try:
        with Path(source.path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return ""


def replaced_files(recorded: Mapping[str, str | None]) -> Collection[str]:
    """Return the paths at which another file lies than the one with the recorded digest, if there is one."""
    paths = [path for path, digest in recorded.items() if digest is not None]
    with ThreadPoolExecutor(THREADS) as threads:
        found = threads.map(lambda path: sha256_of(Source(path, path=path)), paths)
        return {path for path, digest in zip(paths, found, strict=True) if is_replaced(recorded[path], digest)}


def is_replaced(recorded: str | None, now: str | None) -> bool:
    """Return whether an image is another one than the recorded one; one that cannot be read now is not."""
    return recorded is not None and bool(now) and now != recorded
