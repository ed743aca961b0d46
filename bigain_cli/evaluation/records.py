"""Records of an evaluation in a file, one per line: those of an earlier run are read, new ones are appended.

In: a path, and what identifies this run's records; out: records by spec. Torch-free. Must not know a backbone.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigain_cli.classification.label_prompts import NONE
from bigain_cli.errors import UsageError
from bigain_cli.images import is_replaced
from bigain_cli.limits import is_whole
from bigain_cli.outputs.json import line
from bigain_cli.outputs.record_checks import fingerprint_of, problem_of
from bigain_cli.outputs.record_lines import record_lines
from bigain_cli.outputs.resume import read_recorded_ids
from bigain_cli.outputs.target_stream import TargetStream
from bigain_cli.outputs.whole_files import IN_PLACE, check_target, open_target, refuse_address

RecordsBySpec = dict[str, dict[str, dict[str, Any]]]  # by spec, then by id
COSTS = ("draws", "evaluations", "seconds", "gflop")  # per image
NEEDED = ("label", "probability", *COSTS, "top")  # of a record without an error
ONE_LABEL = ("rank", "truth_probability")  # and where one label is right
_ANSWER = ("label", "truth", "error", "settled", "decided", "probability", "rank", "evidence")
_SUMMARY_FIELDS = (*_ANSWER, "truth_probability", "brier", "asked_labels", *COSTS)


@dataclass(frozen=True)
class RecordsFound:
    """How many records of which kind a file already holds."""

    records: int = 0
    failures: int = 0  # among the records
    others: int = 0  # records of other settings or images
    replaced: int = 0  # records of images that are other ones now
    repaired: bool = False  # whether the last record was incomplete, and was removed
    unknown: str = ""  # if there are no records: the id of a record with these settings that the dataset lacks
    replaced_ids: frozenset[str] = frozenset()  # of the images that are other ones now


@dataclass(frozen=True)
class ExpectedRecords:
    """What identifies the records of this run: the specs' names by fingerprint, and the true labels by id."""

    names_by_fingerprint: Mapping[str, str]
    truths: Mapping[str, Sequence[str]]
    labels: Collection[str] = ()  # all that can be answered
    multilabel: bool = False
    sha256: Callable[[str], str | None] = lambda id: None  # of an image as it is now


class RecordFile:
    """A .jsonl file; without a path nothing is kept. What cannot be written is refused on construction."""

    def __init__(self, path: str | None, resume: bool = False, replace: bool = False) -> None:
        self._path, self._resume, self._replace = path, resume, replace
        self._open_file = ExitStack()
        self._stream: TargetStream | None = None
        self._last: dict[tuple[str, str], int] = {}  # where each spec's last record of an image is
        if path is None:
            if resume:
                raise UsageError("--resume", "continues records, and none are named", "Add --records FILE.jsonl.")
            return
        refuse_address(path)
        if Path(path).suffix.lower() not in IN_PLACE:
            raise UsageError(f"--records {path}", "grows line by line", "Name a .jsonl file.")
        if resume and replace:
            raise UsageError("--resume --force", "one keeps the records, the other replaces them", "Choose one.")
        check_target(path, replace, resume)

    def hold(self) -> None:
        """Open the file; from now on no other process may write it."""
        if self._path is not None and self._stream is None:
            self._stream = self._open_file.enter_context(open_target(self._path, self._replace, self._resume))

    def read(self, expected: ExpectedRecords) -> tuple[RecordsBySpec, RecordsFound]:
        """Return what a summary needs of the records of an earlier run; remove an incomplete last line.

        Of several records of an image the last one counts, and none if another image has its name now.
        """
        self.hold()
        records: RecordsBySpec = {name: {} for name in expected.names_by_fingerprint.values()}
        if self._path is None or not self._resume:
            return records, RecordsFound()
        repaired = read_recorded_ids(self._path, "").torn
        others, unknown, sha256 = 0, "", dict[tuple[str, str], str | None]()
        for number, (spec, record) in enumerate(self._lines(expected)):
            if spec is not None and record["id"] in expected.truths:
                self._check(record, expected)
                records[spec][record["id"]] = fields_for_summary(record)
                key = spec, record["id"]
                self._last[key], sha256[key] = number, record.get("sha256")
            else:
                others += 1
                unknown = unknown or (record["id"] if spec is not None else "")
        replaced = [key for key, digest in sha256.items() if is_replaced(digest, expected.sha256(key[1]))]
        for spec, id in replaced:
            del records[spec][id], self._last[spec, id]
        found = [record for of_spec in records.values() for record in of_spec.values()]
        failures, changed = sum("error" in record for record in found), frozenset(id for _, id in replaced)
        return records, RecordsFound(
            len(found), failures, others, len(replaced), repaired, "" if found else unknown, changed
        )

    def earlier(self, expected: ExpectedRecords) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the whole records of an earlier run, each with its spec."""
        for number, (spec, record) in enumerate(self._lines(expected)) if self._resume else ():
            if spec is not None and self._last.get((spec, record["id"])) == number:
                yield spec, record

    @contextmanager
    def writer(self) -> Iterator[Callable[[dict[str, Any]], object]]:
        """Yield a function that appends a record, and returns once it is in the file."""
        if self._path is None:
            yield lambda record: None
            return
        self.hold()
        with self._open_file:
            stream = self._stream
            assert stream is not None
            yield lambda record: stream.write(line(record) + b"\n")

    def _lines(self, expected: ExpectedRecords) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """Yield every record with its spec, or with None if it has other settings."""
        if self._path is not None and os.path.lexists(self._path):
            for line in record_lines(self._path):
                if line.record is not None:
                    yield expected.names_by_fingerprint.get(fingerprint_of(line.record)), line.record

    def _check(self, record: Mapping[str, Any], expected: ExpectedRecords) -> None:
        """Refuse a record of another verb, one that this verb cannot have written, and one of a changed dataset."""
        if "truth" not in record:
            why = f"{record['id']} was recorded by another verb, without its label"
            raise UsageError(str(self._path), why, "Name another file.")
        if why := problem_in(record, expected):
            raise UsageError(str(self._path), f"{record['id']}: {why}", "Remove its line, and it is classified again.")
        if record["truth"] != expected.truths[record["id"]]:
            why = f"{record['id']} had another label before: the dataset has changed"
            raise UsageError(str(self._path), why, "Start again with --force, or name other records.")


def problem_in(record: Mapping[str, Any], expected: ExpectedRecords) -> str:
    """Return why a record cannot be one of this run; nothing if it can."""
    needed = (*NEEDED, "settled" if "settled" in record else "decided")
    if why := problem_of(record, (*needed, *(("evidence",) if expected.multilabel else ONE_LABEL))):
        return why
    if "error" in record:
        return ""
    if record["label"] not in expected.labels:
        return f"{record['label']!r} is none of the labels"
    if expected.multilabel and record["evidence"].keys() != set(expected.labels) - {NONE}:
        return "its evidence is not about the labels"
    asked = record.get("asked_labels", [])
    if not isinstance(asked, list) or not all(is_whole(each) and 0 <= each < len(expected.labels) for each in asked):
        return "its labels asked are none"
    return "" if "rank" not in record or 1 <= record["rank"] <= len(expected.labels) else "its rank is none"


def fields_for_summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a summary needs of a record, so that a long run takes little memory."""
    kept = {key: record[key] for key in _SUMMARY_FIELDS if key in record}
    if "asked_labels" in kept:
        kept["asked_labels"] = array("i", kept["asked_labels"])
    return kept
