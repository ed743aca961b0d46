"""Find the records that an interrupted run has left in a JSON Lines file, and repair its incomplete last line.

Reads line by line, and keeps only the ids of records that have the run's fingerprint.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bigain_cli.errors import UsageError
from bigain_cli.images import replaced_files
from bigain_cli.outputs.output_format import Record
from bigain_cli.outputs.record_checks import fingerprint_of, problem_of
from bigain_cli.outputs.record_lines import record_lines
from bigain_cli.outputs.whole_files import IN_PLACE


@dataclass(frozen=True)
class RecordedIds:
    """What a file holds: ids with this fingerprint, failures among them, records of other settings, a repaired end.

    Of several records of an id the last one counts.
    """

    answers: Mapping[str, str | None] = field(default_factory=dict, repr=False)  # by id; None: it failed
    failures: int = 0
    others: int = 0
    repaired: bool = False  # whether the end of the file was mended
    torn: bool = field(default=False, compare=False)  # because its last record was incomplete
    sha256: Mapping[str, str | None] = field(default_factory=dict, repr=False, compare=False)  # of the images, by id
    replaced: int = 0  # images that are other ones now, and no longer among the answers

    @property
    def ids(self) -> Collection[str]:
        """The ids that are recorded."""
        return self.answers.keys()

    def current(self) -> RecordedIds:
        """Return what is recorded of images that are still those at their paths; others are classified again."""
        gone = replaced_files(self.sha256)
        answers = {id: answer for id, answer in self.answers.items() if id not in gone}
        failures = sum(answer is None for answer in answers.values())
        return replace(self, answers=answers, failures=failures, replaced=len(gone))


def read_recorded_ids(path: str, fingerprint: str, differs: Callable[[Record], str] = lambda record: "") -> RecordedIds:
    """Read what a run with this fingerprint has recorded, and prepare the file for appending.

    Refuse it if one of its records `differs` from what this run would write, by what that says.
    """
    if Path(path).suffix.lower() not in IN_PLACE:
        why = "only .jsonl can be resumed, because other formats are written whole at the end of a run"
        raise UsageError(path, why, "Write to a .jsonl file.")
    if not os.path.lexists(path):
        return RecordedIds()
    try:
        found, end = _read(path, fingerprint, differs)
        if found.repaired:
            _repair(path, end)
    except OSError as error:
        raise UsageError(
            path, f"cannot be resumed ({error.strerror})", "Check the path and its permissions."
        ) from error
    return found


def _read(path: str, fingerprint: str, differs: Callable[[Record], str]) -> tuple[RecordedIds, int]:
    """Return what is recorded, and where the file must end: a byte after its end if only a newline is missing."""
    answers: dict[str, str | None] = {}
    sha256: dict[str, str | None] = {}
    others = end = 0
    whole, torn = True, False
    for line in record_lines(path):
        whole, torn = line.whole, line.torn
        end = end if torn else line.end + (not whole)
        record = line.record
        if record is None:
            continue
        if fingerprint_of(record) != fingerprint:
            others += 1
        elif why := problem_of(record):
            raise UsageError(f"{path}, line {line.number}", why, "Remove the line or the file.")
        elif why := differs(record):
            raise UsageError(f"{path}, line {line.number}", why, "Use the same options, or another file.")
        else:
            answers[record["id"]] = None if "error" in record else record.get("answer", record.get("label"))
            sha256[record["id"]] = record.get("sha256")
    failures = sum(answer is None for answer in answers.values())
    return RecordedIds(answers, failures, others, repaired=not whole, torn=torn, sha256=sha256), end


def _repair(path: str, end: int) -> None:
    """Remove an incomplete last line, or add the missing newline of a complete one."""
    with Path(path).open("r+b") as file:
        if end < file.seek(0, os.SEEK_END):
            file.truncate(end)
        else:
            file.write(b"\n")
        file.flush()
        os.fsync(file.fileno())
