"""How far a run is: what its folder says, without reading its records one by one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.shards.manifest import manifest_of
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import read_record
from bigain_cli.shards.shard_notes import Finished, begun_shards, finished_shards

WINDOW = 600.0  # seconds that say how fast a run is


class _Span(NamedTuple):
    """When a shard was worked on, and how many images that made."""

    began: float
    ended: float
    made: int

    def made_since(self, time: float) -> float:
        """Return how many were made from then on, as if they had been made evenly."""
        return self.made if self.began >= time else self.made * (self.ended - time) / (self.ended - self.began)


@dataclass(frozen=True)
class RunStatus:
    """How far a run is."""

    images: int
    done: int  # in finished shards
    under_way: int  # recorded in shards that are not finished
    failed: int  # of those done
    shards: int
    shards_done: int
    shards_under_way: int
    images_per_second: float | None
    seconds_left: float | None
    warnings: tuple[str, ...] = ()
    unit: str = "image"  # what is counted: images, or the records of an evaluation, one for each image and spec

    def to_dict(self) -> dict[str, Any]:
        """Return it for programs."""
        numbers = {name: value for name, value in vars(self).items() if name != "warnings"}
        return {**numbers, "warnings": list(self.warnings)}


def status_of(folder: RunFolder) -> RunStatus:
    """Read the status of a run."""
    run = read_record(folder)
    count = manifest_of(folder.manifest).count if run is None else run.count
    size = 1 if run is None else run.shard_size
    done, counts = finished_shards(folder), RunCounts()
    for each in done.values():
        counts += each.counts
    growing = {number: lines_of_journal(folder, number) for number in folder.journals() if number not in done}
    under_way, shards = sum(growing.values()), -(-count // size) if run is not None else 0
    now = time.time()
    speed = _images_per_second(_spans(folder, done, growing, now), now)
    left = (count - counts.images - under_way) / speed if speed else None
    if counts.images >= count:
        speed, left = None, 0.0
    warnings = () if run is None else run.warnings
    unit = "record" if run is not None and run.making is not None and "specs" in run.making.layout else "image"
    return RunStatus(
        count, counts.images, under_way, counts.failed, shards, len(done), len(growing), speed, left, warnings, unit
    )


def lines_of_journal(folder: RunFolder, number: int) -> int:
    """Return how many records a shard has that is not finished."""
    with folder.readable_journal(number) as path:
        try:
            return path.read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0


def _spans(folder: RunFolder, done: Mapping[int, Finished], growing: Mapping[int, int], now: float) -> Iterator[_Span]:
    """Yield the spans of shards that are finished, and of those that grow until now."""
    for each in done.values():
        yield _Span(each.at - each.seconds, each.at, each.made)
    begun = begun_shards(folder)
    for number, lines in growing.items():
        if number in begun and lines > begun[number].earlier and _grew(folder, number, now):
            yield _Span(begun[number].at, now, lines - begun[number].earlier)


def _grew(folder: RunFolder, number: int, now: float) -> bool:
    """Return whether a shard under way has grown in the last minutes, not only before its process died."""
    try:
        return folder.journal(number).stat().st_mtime > now - WINDOW
    except FileNotFoundError:  # it grows on another machine's disk, or nowhere
        return False


def _images_per_second(spans: Iterable[_Span], now: float) -> float | None:
    """Return how many images a second were recorded in the last minutes; None if there was none."""
    since = now - WINDOW
    recent = [span for span in spans if span.ended > since]
    images = sum(span.made_since(since) for span in recent)
    seconds = now - max(min((span.began for span in recent), default=now), since)
    return images / seconds if images and seconds > 0 else None
