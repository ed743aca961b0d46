"""Make the records of one shard into its journal: all that are missing, or the first few of them.

In: a shard, and something that makes records; out: a step after each block of work, so that whoever waits can stop it
there. Must not know in which process this is, nor what else is being done.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bigain_cli.outputs.output_format import Record
from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.shards.journal import open_journal
from bigain_cli.shards.manifest import Shard, read_ids
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import Making
from bigain_cli.shards.shard_notes import counts_of_journal, note_begun, note_finished

PATIENCE = 30.0  # seconds that a journal may still be held by a process that was just killed


class RecordMaker(Protocol):
    """Makes the records of ids, in their order."""

    making: Making

    def record_ids(self, ids: Sequence[str]) -> list[str]:
        """Return the `id` of the record of each line of the manifest."""

    def records(self, ids: Sequence[str]) -> Iterator[Record | None]:
        """Yield a record for each id, and None after a block of work that has finished none."""

    def died(self, id: str) -> Record:
        """Return the record of an image whose worker died whenever it was classified alone."""


@dataclass(frozen=True)
class Piece:
    """What to do of a shard: everything, or at most so many images; or give its next image up first."""

    shard: Shard
    most: int | None = None
    give_up: bool = False


def work(
    folder: RunFolder, piece: Piece, maker: RecordMaker, patience: float = PATIENCE
) -> Generator[Record | None, None, None]:
    """Yield each record once it is in the journal, and None after a block of work that has finished none."""
    ids = read_ids(folder.manifest, piece.shard)
    began, counts = time.monotonic(), RunCounts()
    with open_journal(folder, piece.shard, maker.record_ids(ids), patience) as journal:
        if journal is None:
            return
        earlier = journal.count
        note_begun(folder, piece.shard, earlier)
        rest = ids[earlier:]
        if piece.give_up and rest:
            dead = maker.died(rest.pop(0))
            journal.write(dead)
            counts.add_record(dead)
            yield dead
        for record in maker.records(rest[: piece.most]):
            if record is not None:
                journal.write(record)
                counts.add_record(record)
            yield record
        done = journal.count == len(ids)
        whole = counts_of_journal(folder, piece.shard.number) if done and earlier else counts
    if done:
        note_finished(folder, piece.shard, whole, counts.images, time.monotonic() - began)
