"""Makes the records of an evaluation, one for each spec and image, and the summary of them all."""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.loading import load
from bigain_cli.classification.ranking import Failure
from bigain_cli.datasets.dataset import Case
from bigain_cli.engines.image_records import DIED, device_kind, device_of, versions, why_died
from bigain_cli.errors import BigainError
from bigain_cli.evaluation.evaluation_run import EvaluationRun, evaluate
from bigain_cli.evaluation.evaluator import Evaluator
from bigain_cli.evaluation.summary import Summary
from bigain_cli.outputs.json import line
from bigain_cli.outputs.output_format import Record
from bigain_cli.outputs.text import counted
from bigain_cli.outputs.whole_files import write_whole
from bigain_cli.shards.gathering import Gathering
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import Making

_CHOSEN = ("against", "labels", "templates", "limit", "per_class", "seed")
OPTIONS = (*_CHOSEN, "rules", "batch", "min_probability", "shortlist", "tree")


def start_evaluation(options: Mapping[str, Any], number: int) -> EvaluationRecords:
    """Open the dataset, load the model, and prepare every spec."""
    return EvaluationRecords(_run(options, number).evaluator)


def _run(options: Mapping[str, Any], number: int, **records: Any) -> EvaluationRun:
    """Return an evaluation in which nothing is done yet, but what its file of records holds."""
    device = device_of(options["device"], number)

    def loaded(*_: Any) -> Backbone:
        return load(options["model"], device, options["dtype"], options["cache"])

    given = {name: options[name] for name in OPTIONS}
    return evaluate(loaded, options["dataset"], options["specs"], device=device, **given, **records)


class EvaluationRecords:
    """Makes the records of images under specs."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator, self._specs = evaluator, list(evaluator.specs)
        self._cases = {case.id: case for case in evaluator.dataset.cases}
        fingerprints = list(evaluator.names_by_fingerprint())
        about = evaluator.about()
        shared = {name: about[name] for name in about if name not in ("device", "threads", "torch", "weights")}
        joined = hashlib.blake2b("".join(fingerprints).encode(), digest_size=8).hexdigest()
        layout = {"specs": self._specs, "fingerprints": fingerprints}
        kind, labels = device_kind(evaluator.backbone.device), tuple(label.name for label in evaluator.labels.labels)
        self.making = Making(
            {**shared, "fingerprint": joined}, labels, layout, max(evaluator.batches), kind, versions()
        )

    def record_ids(self, lines: Sequence[str]) -> list[str]:
        """Return the ids of the images."""
        return [id for _, id in map(_parts, lines)]

    def records(self, lines: Sequence[str]) -> Iterator[Record | None]:
        """Yield a record for each line."""
        for spec, group in itertools.groupby(map(_parts, lines), key=lambda part: part[0]):
            cases = [self._case(id) for _, id in group]
            for made in self._evaluator.under(self._specs[spec], cases):
                yield made.record

    def died(self, line: str) -> Record:
        """Return the record of an image whose worker died whenever it was classified alone."""
        spec, id = _parts(line)
        settings = self._evaluator.settings_of(self._specs[spec])
        failure = Failure(id, DIED, why_died(id), settings)
        return {**failure.to_dict(), "truth": self._evaluator.truth_of(self._case(id))}

    def _case(self, id: str) -> Case:
        return self._cases[id]


def _parts(line: str) -> tuple[int, str]:
    number, _, id = line.partition(" ")
    return int(number), id


def summary_of(options: Mapping[str, Any], folder: RunFolder) -> Summary:
    """Summarise the gathered records, which a run of one process could have written to its file."""
    gathered = Gathering.of(folder, partial=False)
    with _own_folder(folder) as place:  # several may be made at once
        path = os.path.join(place, "records.jsonl")
        write_whole(path, b"".join(line(record) + b"\n" for record in gathered.records()))
        run = _run(options, 0, records=path, resume=True)
        _refuse_replaced(gathered, run.found.replaced_ids)
        if run.recorded != run.total:
            why = f"only {counted(run.recorded, 'record')} of {run.total} have these options, and this machine's device"
            hint = "Use the options of the run, and its --device and --dtype, or another folder for another run."
            raise BigainError(folder.name, why, hint)
        return run.summary(finish=False)


def _own_folder(folder: RunFolder) -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder; on some shared disks a file that is still open keeps it."""
    return tempfile.TemporaryDirectory(prefix=".summary-", dir=folder.path, ignore_cleanup_errors=True)


def _refuse_replaced(gathered: Gathering, replaced: frozenset[str]) -> None:
    """Refuse records of images that changed since then, and say in which parts they are."""
    if not replaced:
        return
    folder, size = gathered.folder, gathered.run.shard_size
    numbers = (at // size for at, record in enumerate(gathered.records()) if record["id"] in replaced)
    parts = ", ".join(folder.part(number).name for number in dict.fromkeys(numbers))
    why = f"{counted(len(replaced), 'image')} changed since then; the old records are in {parts}"
    raise BigainError(folder.name, why, "Remove these parts, and run again; or put the images back.")
