"""Notes of when shards were begun and finished, so that the status of a run needs no reading of all its records.

They only save time: a shard whose note is missing or torn, because its process was killed just then, is counted in
its part.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigain_cli.errors import BigainError
from bigain_cli.json_text import read_json
from bigain_cli.limits import is_number
from bigain_cli.outputs.json import line
from bigain_cli.outputs.record_lines import record_lines
from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.shards.manifest import Shard
from bigain_cli.shards.run_folder import RunFolder

COUNTS = ("settled", "open", "failed", "unsure")
BEGUN = {"part", "earlier", "at"}
FINISHED = {"part", *COUNTS, "made", "seconds", "at"}


@dataclass(frozen=True)
class Finished:
    """How the records of a shard came out, and when it was finished."""

    counts: RunCounts
    made: int = 0  # of the records, by the process that finished it
    seconds: float = 0.0  # that this took
    at: float = 0.0  # seconds since 1970


@dataclass(frozen=True)
class Begun:
    """When a process began with a shard, and how many records an earlier one had left in it."""

    earlier: int
    at: float


def note_begun(folder: RunFolder, shard: Shard, earlier: int) -> None:
    """Note that a process begins with a shard."""
    _add(folder, {"part": shard.number, "earlier": earlier, "at": round(time.time(), 3)})


def note_finished(folder: RunFolder, shard: Shard, whole: RunCounts, made: int, seconds: float) -> None:
    """Note that a shard is finished, and how many of its records this process made."""
    entry: dict[str, Any] = {"part": shard.number, "settled": whole.settled, "open": whole.open, "failed": whole.failed}
    entry |= {"unsure": whole.unsure, "made": made, "seconds": round(seconds, 3), "at": round(time.time(), 3)}
    _add(folder, entry, for_all=True)


def _add(folder: RunFolder, entry: dict[str, Any], for_all: bool = False) -> None:
    with contextlib.suppress(OSError, BigainError):
        folder.add_note(line(entry) + b"\n", for_all)


def finished_shards(folder: RunFolder) -> dict[int, Finished]:
    """Return what is known of every part that is there."""
    noted = dict(_noted(folder))
    parts = folder.parts()
    return {number: noted.get(number) or Finished(counts_of_part(folder, number)) for number in sorted(parts)}


def begun_shards(folder: RunFolder) -> dict[int, Begun]:
    """Return when shards were begun, each for the last time."""
    return {found["part"]: Begun(found["earlier"], found["at"]) for found in _entries(folder) if "earlier" in found}


def _noted(folder: RunFolder) -> Iterator[tuple[int, Finished]]:
    for found in _entries(folder):
        if "settled" in found:
            counts = RunCounts(*(found[name] for name in COUNTS))
            yield found["part"], Finished(counts, found["made"], found["seconds"], found["at"])


def _entries(folder: RunFolder) -> Iterator[dict[str, Any]]:
    """Yield the whole notes."""
    for text in folder.notes():
        with contextlib.suppress(ValueError):
            found = read_json(text)
            if _is_note(found):
                yield found


def _is_note(found: Any) -> bool:
    known = isinstance(found, dict) and (found.keys() >= FINISHED or found.keys() == BEGUN)
    return known and all(is_number(value, 0) for value in found.values())


def counts_of_part(folder: RunFolder, number: int) -> RunCounts:
    """Count the records of a finished shard."""
    with folder.readable_part(number) as path:
        return _counts_of(path)


def counts_of_journal(folder: RunFolder, number: int) -> RunCounts:
    """Count the records so far of a shard under way."""
    with folder.readable_journal(number) as path, contextlib.suppress(FileNotFoundError):
        return _counts_of(path)
    return RunCounts()


def _counts_of(path: Path) -> RunCounts:
    counts = RunCounts()
    for each in record_lines(str(path)):
        if each.record is not None:
            counts.add_record(each.record)
    return counts
