"""The engine without workers: this process does one share of the shards itself, as a Slurm array or a shell loop asks.

Several such processes share a folder; which shards are whose follows from their numbers.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

from bigain_cli.engines.job import Job, Report
from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.shards.manifest import Shard
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import join
from bigain_cli.shards.shard_work import Piece, work


def run_here(job: Job, folder: RunFolder, shards: Iterable[Shard]) -> Generator[Report, None, None]:
    """Do shards one after the other, those whose parts are there left out."""
    maker = job.start(0)
    yield from join(folder, maker.making).warnings
    yield RunCounts()  # ready
    for shard in shards:
        if not folder.is_done(shard):
            for record in work(folder, Piece(shard), maker):
                counts = RunCounts()
                if record is not None:
                    counts.add_record(record)
                yield counts
