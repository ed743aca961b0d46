"""The job of a run in which no image is there: every record says why, and no model is loaded for it. Torch-free."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bigain_cli.classification.missing_images import MissingImages
from bigain_cli.images import source_of_id
from bigain_cli.outputs.output_format import Record
from bigain_cli.shards.run_record import Making


@dataclass(frozen=True)
class MissingImagesJob:
    """What records and their columns depend on."""

    labels: tuple[str, ...]
    min_probability: float | None
    top: int
    recursive: bool
    offline: bool = False

    def start(self, number: int) -> MissingImageRecords:
        """Return what makes the records."""
        return MissingImageRecords(self)


class MissingImageRecords:
    """Makes the records: those of a plain run without any image."""

    def __init__(self, job: MissingImagesJob) -> None:
        self._job, self._run = job, MissingImages(())
        least = {} if job.min_probability is None else {"min_probability": job.min_probability}
        settings: dict[str, Any] = {**self._run.settings, **least}
        self.making = Making(settings, job.labels, {"top": job.top}, 0, "none", {})

    def record_ids(self, ids: Sequence[str]) -> list[str]:
        """Return the ids: a record has the one of its line."""
        return list(ids)

    def records(self, ids: Sequence[str]) -> Iterator[Record | None]:
        """Yield a record for each image, up to one that has appeared since the images were listed."""
        sources = (source_of_id(id, self._job.recursive, self._job.offline) for id in ids)
        for failure in self._run.rankings(itertools.takewhile(lambda source: source.error is not None, sources)):
            yield failure.to_dict(self._job.top)

    def died(self, id: str) -> Record:
        """Return the record of an image; no worker dies of one that is not there."""
        return next(record for record in self.records([id]) if record is not None)
