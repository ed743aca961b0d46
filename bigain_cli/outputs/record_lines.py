"""The lines of a .jsonl file of records: each is a record, blank, or torn, which only the last one can be.

A byte order mark and blank lines, which editors leave behind, are skipped. Anything else is refused with its number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigain_cli.errors import UsageError
from bigain_cli.json_text import read_json
from bigain_cli.limits import MOST_LINE
from bigain_cli.outputs.record_checks import is_text

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class RecordLine:
    """A line: its number, where it ends in the file, and its record; neither blank nor torn lines have one."""

    number: int
    end: int
    record: dict[str, Any] | None
    whole: bool = True  # whether it ends with a newline
    torn: bool = False  # whether a run was stopped while it was written


def record_lines(path: str) -> Iterator[RecordLine]:
    """Yield the lines of a file."""
    end = 0
    with Path(path).open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MOST_LINE), b""), 1):
            end += len(line)
            content = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
            whole = line.endswith(b"\n")
            if not content.strip():
                yield RecordLine(number, end, None, whole)
                continue
            record, is_json = _parsed(content)
            too_long = not whole and len(line) == MOST_LINE
            torn = not too_long and not whole and not is_json and _begins_a_record(content)
            if record is None and not torn:
                hint = "Remove the line or the file."
                raise UsageError(f"{path}, line {number}", "not a record of a run", hint)
            yield RecordLine(number, end, record, whole, torn)


def _parsed(line: bytes) -> tuple[dict[str, Any] | None, bool]:
    """Return a line's record, or None if it is not one, and whether it is JSON at all."""
    try:
        record = read_json(line.decode())
    except ValueError:
        return None, False
    if not isinstance(record, dict) or not is_text(record.get("id")):
        return None, True
    return (record if isinstance(record.get("settings"), dict | None) else None), True


def _begins_a_record(line: bytes) -> bool:
    """Return whether this may be the first part of a record, maybe followed by zeros that a crash left on the disk."""
    return line.startswith(b'{"id"'[: len(line)]) or not line.strip(b"\0")
