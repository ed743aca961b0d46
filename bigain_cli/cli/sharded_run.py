"""Runs the missing shards of a folder with the chosen engine, and shows how far the run is."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import shown_wait
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.cli.sharding import Sharding
from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.outputs.text import counted
from bigain_cli.shards.manifest import Shard, shards
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import RunRecord
from bigain_cli.shards.run_status import lines_of_journal
from bigain_cli.shards.shard_notes import finished_shards

Reports = Generator[RunCounts | str, None, None]


def run_shards(
    folder: RunFolder, run: RunRecord, job: Any, sharding: Sharding, messages: Messages, least: float | None
) -> int:
    """Do what is missing of this process's share; return 1 if any image failed, else 0."""
    share = lambda: _of_share(shards(folder.manifest, run.shard_size), sharding.share)  # noqa: E731
    earlier, before, total = RunCounts(), 0, 0
    done = finished_shards(folder)
    for shard in share():
        total += shard.count
        if shard.number in done:
            earlier += done[shard.number].counts
            before += shard.count
        else:
            before += lines_of_journal(folder, shard.number)
    if before:
        messages.note(f"{folder.path}: {counted(before, 'image')} already recorded")
    counts, began = RunCounts(), time.monotonic()
    if before < total or any(not folder.is_done(shard) for shard in share()):
        with closing(_reports(folder, job, sharding, share())) as reports, _note_on_interruption(folder, messages):
            began = _until_ready(reports, messages)
            with ProgressBar(messages, "classifying", "images", before) as progress:
                for report in reports:
                    if isinstance(report, str):
                        messages.note(report)
                        continue
                    counts += report
                    progress.show(before + counts.images, total, _note(counts, time.monotonic() - began))
    failed = counts.failed + earlier.failed
    if failed:
        why = "its record says why" if failed == 1 else "their records say why"
        messages.error(f"{failed} of {counted(before + counts.images, 'image')} failed; {why}")
    messages.closing(counts.sentence(time.monotonic() - began, least, before, str(folder.path)))
    return 1 if failed else 0


def _of_share(all_shards: Iterator[Shard], share: tuple[int, int] | None) -> Iterator[Shard]:
    """Yield the shards of a share: every N-th."""
    number, of = share or (1, 1)
    return itertools.islice(all_shards, number - 1, None, of)


def _note(counts: RunCounts, seconds: float) -> str:
    failed = f", {counts.failed} failed" if counts.failed else ""
    return f"{counts.images / max(seconds, 1e-9):.2f} images/s{failed}"


def _until_ready(reports: Reports, messages: Messages) -> float:
    """Wait until the first worker has loaded the model, and return when that was."""
    with shown_wait("loading the model", messages):
        for report in reports:
            if not isinstance(report, str):
                break
            messages.note(report)
    return time.monotonic()


@contextmanager
def _note_on_interruption(folder: RunFolder, messages: Messages) -> Iterator[None]:
    """After an interruption, note how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        messages.note(f"{folder.path} has the results so far; the same command continues")
        raise


def _reports(folder: RunFolder, job: Any, sharding: Sharding, missing: Iterator[Shard]) -> Reports:
    """Start the engine."""
    from bigain_cli.engines.this_process import run_here

    return run_here(job, folder, missing)
