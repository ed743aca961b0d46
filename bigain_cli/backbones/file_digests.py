"""Digests of a model's files, over every byte; those of large files are kept, so that a start need not read them twice.

A kept digest counts only for a file of the same path, size, times and inode. Whatever is wrong with the folder of kept
digests costs time and nothing else. Must not know what the files hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bigain_cli.json_text import read_json

LEAST_KEPT = 1 << 25  # bytes; what is smaller is read faster than it is found
PIECE = 1 << 24  # bytes that one thread reads at a time
THREADS = 4
SETTLED = 2 * 10**9  # nanoseconds; a file that changed just now may change again within one tick of its clock


@dataclass(frozen=True)
class FileDigests:
    """Computes digests, and keeps those of large files in a folder, if one is given."""

    folder: Path | None = None

    def digest(self, path: Path) -> str:
        """Return the digest of a file's bytes."""
        before = path.stat()
        if self.folder is None or before.st_size < LEAST_KEPT:
            return digest_of(path)
        place, state = self.folder / f"{_hashed(os.fsencode(path.resolve()))}.json", _state(path, before)
        with contextlib.suppress(OSError, ValueError):
            kept = read_json(place.read_text(encoding="utf-8"))
            if isinstance(kept, dict) and kept.get("file") == state and isinstance(kept.get("digest"), str):
                return str(kept["digest"])
        found = digest_of(path)
        if (
            _state(path, path.stat()) == state
            and time.time_ns() - max(before.st_mtime_ns, before.st_ctime_ns) > SETTLED
        ):
            with contextlib.suppress(OSError, ValueError):
                _write(place, json.dumps({"file": state, "digest": found}))
        return found

    def combined(self, files: Iterable[tuple[str, Path]], text: str = "") -> str:
        """Return one short digest of the names and the contents of files, and of a text."""
        lines = [f"{self.digest(path)} {name}\n" for name, path in files] + [text]
        return hashlib.blake2b("".join(lines).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def digest_of(path: Path) -> str:
    """Return the digest of a file: of the digests of its pieces, which several threads compute."""
    size = path.stat().st_size
    if size <= PIECE:
        return _hashed(_hash_of_piece(path, 0))
    with ThreadPoolExecutor(THREADS) as threads:
        return _hashed(b"".join(threads.map(lambda start: _hash_of_piece(path, start), range(0, size, PIECE))))


def _hash_of_piece(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(PIECE)).digest()  # which processors compute themselves


def _hashed(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _state(path: Path, stat: os.stat_result) -> list[str | int]:
    """Return what must be as it was: a program that changes a file and sets its time back cannot set the other one."""
    return [os.fsdecode(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]


def _write(place: Path, text: str) -> None:
    """Write a file whole, so that another process never reads half of it."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
