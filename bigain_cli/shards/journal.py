"""A shard while it grows: a locked file of whole lines, which a later process continues and which becomes its part.

Out comes how many records are there already. The part appears under its name when all of them are, and not before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bigain_cli.errors import BigainError
from bigain_cli.outputs.growing_file import FLAGS, GrowingStream
from bigain_cli.outputs.json import line
from bigain_cli.outputs.locks import is_at, lock
from bigain_cli.outputs.output_format import Record
from bigain_cli.outputs.part_folders import in_use
from bigain_cli.outputs.record_lines import record_lines
from bigain_cli.outputs.shield import SHIELD
from bigain_cli.outputs.target_stream import name_open_errors
from bigain_cli.shards.manifest import Shard
from bigain_cli.shards.run_folder import RunFolder

PAUSE = 0.05  # seconds between two tries to lock a journal


class Journal:
    """The open file; `count` records are in it."""

    def __init__(self, stream: GrowingStream, count: int) -> None:
        self._stream, self.count = stream, count

    def write(self, record: Record) -> None:
        """Add a record, whole or not at all."""
        self._stream.write(line(record) + b"\n")
        self.count += 1


@contextmanager
def open_journal(folder: RunFolder, shard: Shard, expected: Sequence[str], patience: float) -> Iterator[Journal | None]:
    """Yield a shard's journal, or None if its part is there; one with all `expected` records becomes the part.

    A process that has just been killed may hold its journal for a moment: so long one waits at most.
    """
    path = folder.journal(shard.number)
    descriptor = _opened(folder, shard, path, patience)
    if descriptor is None:
        yield None
        return
    stream = GrowingStream(descriptor, str(path), replace=False)
    try:
        _repair(path, stream)
        folder.share_journal(shard.number)
        journal = Journal(stream, sum(each.record is not None for each in record_lines(str(path))))
        yield journal
        if journal.count >= len(expected):  # more than that is refused
            with SHIELD:
                _check(path, expected)
                folder.finish(shard.number)
    finally:
        with SHIELD:
            if is_at(descriptor, path):
                with suppress(BigainError):  # it stays on this disk
                    if not folder.is_done(shard):
                        folder.share_journal(shard.number)
            if not os.fstat(descriptor).st_size and is_at(descriptor, path) and expected:
                path.unlink()
            stream.close()


def _opened(folder: RunFolder, shard: Shard, path: Path, patience: float) -> int | None:
    """Open and lock the journal that has the name now; None if the shard is done."""
    until = time.monotonic() + patience
    while True:
        if folder.is_done(shard):
            folder.forget_journal(shard.number)  # of a disk that has no locks
            return None
        with name_open_errors(str(path)):
            descriptor = os.open(path, FLAGS | os.O_CREAT, 0o666)
        held = lock(descriptor)
        if held is not False and is_at(descriptor, path) and not folder.is_done(shard):
            return descriptor
        if held and is_at(descriptor, path):
            path.unlink()
        os.close(descriptor)
        if held is False:
            if time.monotonic() > until:
                raise in_use(folder.name_of(folder.part(shard.number).name))
            time.sleep(PAUSE)


def _repair(path: Path, stream: GrowingStream) -> None:
    """Remove an incomplete last line."""
    end = 0
    for each in record_lines(str(path)):
        if not each.whole:
            break
        end = each.end
    if end < os.fstat(stream.descriptor).st_size:
        os.ftruncate(stream.descriptor, end)


def _check(path: Path, expected: Sequence[str]) -> None:
    """Refuse a journal that does not hold exactly the records of its shard."""
    found = [each.record["id"] for each in record_lines(str(path)) if each.record is not None]
    if found != list(expected):
        pairs = enumerate(zip(found, expected, strict=False))
        at = next((at for at, (one, other) in pairs if one != other), len(expected))
        hint = "Remove it, and run again. Does this disk have no locks, and do two runs write the same shard?"
        raise BigainError(f"{path}, line {at + 1}", "not the record that belongs there", hint)
