"""In what a process that joins a run differs from the run: the first difference is named, and refused."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from bigain_cli.errors import UsageError
from bigain_cli.json_text import read_json
from bigain_cli.outputs.json import line
from bigain_cli.shards.run_folder import RunFolder

HINT = "Use the same options, model and versions, or another folder for another run."


def refuse_other_presence(folder: RunFolder, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse to continue a run with images that was begun without any, so that no model was loaded, or the reverse."""
    if ("model" in there) != ("model" in here):
        why, hint = "some of its images were there when this run began, and now none is", "Check the paths."
        if "model" in here:
            why, hint = "none of its images was there when this run began, and now some are", "Use another folder."
        raise UsageError(folder.name, why, hint)


def refuse_other_labels(folder: RunFolder, before: Sequence[str], now: Sequence[str]) -> None:
    """Name the first label that differs."""
    for number, (there, here) in enumerate(itertools.zip_longest(before, now), 1):
        if there != here:
            was, is_now = ("missing" if name is None else repr(name) for name in (there, here))
            raise UsageError(folder.name, f"label {number} of this run is {was}, and here it is {is_now}", HINT)


def refuse_difference(folder: RunFolder, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Name the first entry that differs; the fingerprint only if nothing else does."""
    names = [name for name in dict.fromkeys((*before, *now)) if before.get(name) != now.get(name)]
    if names:
        name = next((name for name in names if name != "fingerprint"), "")
        why = f"this run has {name} {before.get(name)!r}, and here it is {now.get(name)!r}"
        raise UsageError(folder.name, why if name else "this run has other weights, or other prompts", HINT)


def as_read(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table as it is when it is read again: with lists, not tuples."""
    read: dict[str, Any] = read_json(line(dict(table)))
    return read
