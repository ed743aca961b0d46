"""Find what a JSON Lines file of an interrupted run holds already, and mend its torn last line.

Reads line by line; keeps only the ids of the records with the run's own fingerprint.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigain_cli.errors import UsageError
from bigain_cli.outputs.files import IN_PLACE


@dataclass(frozen=True)
class Recorded:
    """What there is: ids under this fingerprint, failures among them, records of other settings, a mended end."""

    ids: frozenset[str] = field(default_factory=frozenset, repr=False)
    failures: int = 0
    others: int = 0
    repaired: bool = False


def recorded(path: str, fingerprint: str) -> Recorded:
    """Read what a run with this fingerprint has recorded, and make the file ready to be appended to."""
    if Path(path).suffix.lower() not in IN_PLACE:
        why = "only .jsonl can be resumed, because other formats are written whole at the end of a run"
        raise UsageError(path, why, "Write to a .jsonl file")
    if not os.path.lexists(path):
        return Recorded()
    try:
        found, size, whole = _read(path, fingerprint)
        if whole != size:
            _mend(path, whole)
    except OSError as error:
        raise UsageError(path, f"cannot be resumed ({error.strerror})", "Check the path and its permissions") from error
    return found


def _read(path: str, fingerprint: str) -> tuple[Recorded, int, int]:
    """Return what is recorded, the file's size, and where it must end: one byte on if only a newline lacks."""
    ids: set[str] = set()
    failures = others = size = whole = 0
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            size += len(line)
            record = _parsed(line)
            if record is None and not line.endswith(b"\n"):
                break  # torn
            whole = size + (not line.endswith(b"\n"))
            if record is None:
                raise UsageError(f"{path}, line {number}", "not a record of a run", "Remove the line or the file")
            if (record.get("settings") or {}).get("fingerprint") != fingerprint:
                others += 1
            elif record["id"] not in ids:
                ids.add(record["id"])
                failures += "error" in record
    return Recorded(frozenset(ids), failures, others, whole != size), size, whole


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return a line's record, or None if it holds none."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    proper = isinstance(record, dict) and isinstance(record.get("id"), str)
    return record if proper and isinstance(record.get("settings", {}), dict | None) else None


def _mend(path: str, whole: int) -> None:
    """Cut a torn last line off, or give a complete one its newline."""
    with Path(path).open("r+b") as file:
        if whole < file.seek(0, os.SEEK_END):
            file.truncate(whole)
        else:
            file.write(b"\n")
        file.flush()
        os.fsync(file.fileno())
