"""A job: everything that a process needs to make the records of a run, small enough to be sent to another machine."""

from __future__ import annotations

from typing import Protocol

from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.shards.shard_work import RecordMaker

Report = RunCounts | str  # what has come out since the last one, maybe nothing yet; or a note for the user


class Job(Protocol):
    """What is sent to every process."""

    def start(self, number: int) -> RecordMaker:
        """Load the model; the processes of one machine have numbers, and share its GPUs by them."""
