"""The answers of an evaluation: read from the records of an earlier run, asked for, and recorded line by line."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from bigain_cli.cli.inquiry import Inquiry
from bigain_cli.cli.meter import StepMeter
from bigain_cli.cli.talk import Talk
from bigain_cli.errors import UsageError
from bigain_cli.outputs.files import explained, open_target
from bigain_cli.outputs.json import line
from bigain_cli.outputs.resume import recorded
from bigain_cli.outputs.text import counted

Show = Callable[[dict[str, Any], Any], None]
Answers = dict[str, dict[str, dict[str, Any]]]  # by spec, then by id
_COSTS = ("draws", "evaluations", "seconds", "gflop")
KEPT = ("label", "truth", "error", "decided", "probability", "rank", "evidence", *_COSTS)  # what a summary needs


def asked(inquiry: Inquiry, evaluation: Any, talk: Talk, show: Show) -> Answers:
    """Return every answer: those that an earlier run has recorded, and the missing ones, recorded as they come.

    Each is handed to `show`, with the whole result if it is new.
    """
    found = _recorded(inquiry, evaluation, talk, show)
    _ask(inquiry, talk, evaluation, found, show)
    return found


def _recorded(inquiry: Inquiry, evaluation: Any, talk: Talk, show: Show) -> Answers:
    """Read what an earlier run has recorded of these specs and pictures."""
    found: Answers = {name: {} for name in evaluation.specs}
    if not inquiry.resume or inquiry.records is None:
        return found
    marks = evaluation.marks()
    wanted = {case.id: evaluation.truth_of(case) for case in evaluation.dataset.cases}
    if recorded(inquiry.records, "").repaired:
        talk.note(f"{inquiry.records}: the last line was torn; its picture is asked about again")
    others = 0
    stranger = ""  # a picture that was asked about with these settings, and is not in the dataset
    for record in _lines(inquiry.records):
        name = marks.get((record.get("settings") or {}).get("fingerprint", ""))
        if name is None or record["id"] not in wanted:
            others += 1
            stranger = stranger or (record["id"] if name is not None else "")
            continue
        _check(inquiry.records, record, wanted[record["id"]])
        found[name][record["id"]] = _slim(record)
        show(record, None)
    _tell(inquiry, talk, found, others)
    if stranger and not any(found.values()):
        here = next(iter(wanted), "none")
        talk.note(
            f"{inquiry.records}: pictures are called {stranger} there and {here} here; "
            "if these are the same ones, stop and name the dataset as it was named then"
        )
    return found


def _check(path: str, record: dict[str, Any], truth: list[str]) -> None:
    """Refuse a record of another verb, and of a picture that was something else then."""
    if "truth" not in record:
        raise UsageError(path, f"{record['id']} was recorded by another verb, without its label", "Name another file.")
    if record["truth"] != truth:
        why = f"{record['id']} had another label then: the dataset has changed"
        raise UsageError(path, why, "Begin anew with --force, or name other records.")


def _tell(inquiry: Inquiry, talk: Talk, found: Answers, others: int) -> None:
    """Say what is there already."""
    there = [record for of_spec in found.values() for record in of_spec.values()]
    failures = sum("error" in record for record in there)
    unseen = "; a page shows them without pictures" if inquiry.form == "html" else ""
    talk.recorded(str(inquiry.records), counted(len(there), "answer"), failures, unseen)
    if others:
        talk.note(f"{inquiry.records}: {counted(others, 'record')} of other settings or pictures kept")


def _lines(path: str) -> Iterator[dict[str, Any]]:
    if Path(path).exists():
        with Path(path).open("rb") as file:
            yield from map(json.loads, file)


def _slim(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in KEPT if key in record}


def _ask(inquiry: Inquiry, talk: Talk, evaluation: Any, found: Answers, show: Show) -> None:
    """Ask what is not recorded yet."""
    done = {mark: frozenset(found[name]) for mark, name in evaluation.marks().items()}
    total = len(evaluation.dataset.cases) * len(done)
    before = sum(map(len, found.values()))
    with _stream(inquiry) as stream, StepMeter(talk, "asking", "answers") as meter:
        try:
            for trial in evaluation.trials(done):
                record = trial.record
                if stream is not None:
                    with explained(str(inquiry.records)):
                        stream.write(line(record) + b"\n")
                        stream.flush()
                show(record, trial.result)
                found[trial.spec][record["id"]] = _slim(record)
                meter.show(sum(map(len, found.values())) - before, total - before)
        except KeyboardInterrupt:
            kept = (
                f"are in {inquiry.records}; {_onward(evaluation, found)}"
                if inquiry.records
                else "are lost: use --records"
            )
            talk.note(f"interrupted; {sum(map(len, found.values()))} of {total} answers {kept}")
            raise


def _onward(evaluation: Any, found: Answers) -> str:
    """Say how to go on, and how to sum up the first pictures, which all specs have answered."""
    answered = (all(case.id in of_spec for of_spec in found.values()) for case in evaluation.dataset.cases)
    whole = sum(itertools.takewhile(bool, answered))
    early = f", or sum up what all specs have answered by --resume --limit {whole}" if whole else ""
    return f"go on with --resume{early}"


@contextmanager
def _stream(inquiry: Inquiry) -> Iterator[BinaryIO | None]:
    if inquiry.records is None:
        yield None
    else:
        with open_target(inquiry.records, inquiry.force, inquiry.resume) as stream:
            yield stream
