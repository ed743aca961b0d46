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
from bigain_cli.cli.sharding import Sharding, prepare_ray, variables_of_options
from bigain_cli.cli.threads import share_threads
from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.outputs.text import counted
from bigain_cli.shards.manifest import Shard, shards
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import RunRecord
from bigain_cli.shards.shard_notes import counts_of_journal, finished_shards

Reports = Generator[RunCounts | str, None, None]


def run_shards(
    folder: RunFolder,
    run: RunRecord,
    job: Any,
    sharding: Sharding,
    messages: Messages,
    least: float | None,
    unit: str = "image",
) -> int:
    """Do what is missing of this process's share; return 1 if any image failed, else 0."""
    whole = _Share(folder, run, sharding)
    earlier = whole.counts()
    if earlier.images:
        messages.note(f"{folder.name}: {counted(earlier.images, unit)} already recorded")
    counts, began = RunCounts(), time.monotonic()
    if not whole.is_done():
        with closing(_reports(folder, job, sharding, whole.shards())) as reports, _noted(folder, messages):
            began = _until_ready(reports, messages)
            with ProgressBar(messages, "classifying", f"{unit}s", earlier.images) as progress:
                for report in reports:
                    if isinstance(report, str):
                        messages.note(report)
                        continue
                    counts += report
                    done = min(earlier.images + counts.images, whole.images)
                    progress.show(done, whole.images, _note(counts, time.monotonic() - began, unit))
        counts = whole.counts() - earlier  # what a worker did just before it died was not reported
    failed = counts.failed + earlier.failed
    if failed:
        why = "its record says why" if failed == 1 else "their records say why"
        messages.error(f"{failed} of {counted(whole.images, unit)} failed; {why}")
    messages.closing(counts.sentence(time.monotonic() - began, least, earlier.images, folder.name, unit))
    return 1 if failed else 0


class _Share:
    """The shards of this process: all of them, or every N-th."""

    def __init__(self, folder: RunFolder, run: RunRecord, sharding: Sharding) -> None:
        self._folder, self._size, self._share = folder, run.shard_size, sharding.share
        self.images = sum(shard.count for shard in self.shards())

    def shards(self) -> Iterator[Shard]:
        """Yield them."""
        return of_share(shards(self._folder.manifest, self._size), self._share)

    def is_done(self) -> bool:
        """Return whether all parts are there."""
        parts = self._folder.parts()
        return all(shard.number in parts for shard in self.shards())

    def counts(self) -> RunCounts:
        """Return what is recorded, in parts and in journals."""
        total, done, growing = RunCounts(), finished_shards(self._folder), self._folder.journals()
        for shard in self.shards():
            if shard.number in done:
                total += done[shard.number].counts
            elif shard.number in growing:
                total += counts_of_journal(self._folder, shard.number)
        return total


def of_share(all_shards: Iterator[Shard], share: tuple[int, int] | None) -> Iterator[Shard]:
    """Yield the shards of a share: every N-th."""
    number, of = share or (1, 1)
    return itertools.islice(all_shards, number - 1, None, of)


def _note(counts: RunCounts, seconds: float, unit: str) -> str:
    failed = f", {counts.failed} failed" if counts.failed else ""
    return f"{counts.images / max(seconds, 1e-9):.2f} {unit}s/s{failed}"


def _until_ready(reports: Reports, messages: Messages) -> float:
    """Wait until the first worker has loaded the model, and return when that was."""
    with shown_wait("loading the model", messages):
        for report in reports:
            if not isinstance(report, str):
                break
            messages.note(report)
    return time.monotonic()


@contextmanager
def _noted(folder: RunFolder, messages: Messages) -> Iterator[None]:
    """After an interruption, note how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        messages.note(f"{folder.name} has the results so far; the same command continues")
        raise


def _reports(folder: RunFolder, job: Any, sharding: Sharding, missing: Iterator[Shard]) -> Reports:
    """Start the engine."""
    if sharding.share is not None:
        from bigain_cli.engines.this_process import run_here

        return run_here(job, folder, missing)
    if sharding.on_ray:
        prepare_ray(sharding.engine)
        from bigain_cli.engines.ray_actors import run_on_ray

        return run_on_ray(
            job, folder, missing, sharding.workers, sharding.engine, job.device != "cpu", sharding.with_logs,
            variables_of_options(),
        )  # fmt: skip
    from bigain_cli.engines.processes import run_in_processes

    workers = sharding.workers or 1
    share_threads(workers)
    return run_in_processes(job, folder, missing, workers)
