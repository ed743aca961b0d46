"""The manifest: one line for each record of a run, in order, written to disk as the images are found.

A shard is a stretch of its lines. Neither the lines nor the shards are ever held in a list of all of them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bigain_cli.errors import UsageError
from bigain_cli.json_text import read_json
from bigain_cli.outputs.renamed_file import replacing
from bigain_cli.outputs.target_stream import WriteError

_PIECE = 1 << 20  # bytes
HINT = "Name the same images in the same order, or another folder for another run."
SHOWN = 80  # letters of a line in a message


@dataclass(frozen=True)
class Manifest:
    """How many lines a manifest has, and the digest of its bytes."""

    count: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """A stretch of the manifest: its number, the byte where it begins, and how many lines it has."""

    number: int
    offset: int
    count: int


def encoded(id: str) -> bytes:
    """Return an id as a line: as it is, or as JSON if it would not be one line of UTF-8, or could be taken for JSON."""
    plain = id.isprintable() and not id.startswith('"') and id == id.strip() != ""
    return (id if plain else json.dumps(id)).encode() + b"\n"


def decoded(line: bytes) -> str:
    """Return the id of a line."""
    text = line.decode().removesuffix("\n")
    return str(read_json(text)) if text.startswith('"') else text


def write_or_compare(path: Path, ids: Iterable[str], name: str | None = None) -> Manifest:
    """Write the manifest, whole or not at all; refuse ids that differ from those of one that is there.

    Several processes may do so at the same time. Messages may call it by another name.
    """
    return _compared(path, ids, name or str(path)) if path.exists() else _written(path, ids)


def _written(path: Path, ids: Iterable[str]) -> Manifest:
    """Write a new manifest; if another process was faster, it must have listed the same."""
    count, digest = 0, hashlib.sha256()
    try:
        with replacing(path.absolute(), str(path), force=False) as temporary, temporary.open("wb") as stream:
            lines = map(encoded, ids)
            while piece := b"".join(itertools.islice(lines, 4096)):
                count += piece.count(b"\n")
                digest.update(piece)
                stream.write(piece)
    except WriteError as problem:
        if not isinstance(problem.__cause__, FileExistsError):
            raise
        if manifest_of(path) != Manifest(count, digest.hexdigest()):
            raise UsageError(str(path), "another process has listed other images at the same time", HINT) from problem
    return Manifest(count, digest.hexdigest())


def _compared(path: Path, ids: Iterable[str], name: str) -> Manifest:
    """Compare ids with the manifest, line by line, and name the first line that differs."""
    digest, number = hashlib.sha256(), 0
    with path.open("rb") as file:
        for number, (there, now) in enumerate(itertools.zip_longest(file, map(encoded, ids)), 1):
            if there != now:
                why = f"had {_shown(there)} when the run began, and now {_shown(now)}"
                hint = "Name the same images in the same order, or another folder for another run."
                raise UsageError(f"{name}, line {number}", why, hint)
            digest.update(there)
    return Manifest(number, digest.hexdigest())


def _shown(line: bytes | None) -> str:
    if line is None:
        return "no such line"
    text = decoded(line)
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def manifest_of(path: Path) -> Manifest:
    """Read a manifest's number of lines and its digest."""
    count, digest = 0, hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            count += piece.count(b"\n")
            digest.update(piece)
    return Manifest(count, digest.hexdigest())


def shards(path: Path, size: int) -> Iterator[Shard]:
    """Yield the shards of a manifest, of `size` lines each but the last."""
    with path.open("rb") as file:
        for number in itertools.count():
            offset = file.tell()
            count = sum(1 for _ in itertools.islice(iter(file.readline, b""), size))
            if not count:
                return
            yield Shard(number, offset, count)


def read_ids(path: Path, shard: Shard) -> list[str]:
    """Return the ids of a shard."""
    with path.open("rb") as file:
        file.seek(shard.offset)
        return [decoded(line) for line in itertools.islice(file, shard.count)]


def all_ids(path: Path) -> Iterator[str]:
    """Yield every id."""
    with path.open("rb") as file:
        yield from map(decoded, file)
