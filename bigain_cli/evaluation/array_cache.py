"""Arrays in files of a folder, each with the settings that it was made with; a file with other settings is refused.

In: names, settings, arrays; out: arrays. Must not know what they mean.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from bigain_cli.errors import UsageError
from bigain_cli.json_text import read_json
from bigain_cli.outputs.part_folders import remove_leftovers
from bigain_cli.outputs.whole_files import write_whole

Arrays = dict[str, Any]
_BROKEN = (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error)  # what reading an incomplete file raises


class ArrayCache:
    """A folder, which is made if it is missing; without one nothing is kept."""

    def __init__(self, folder: str | None, replace: bool) -> None:
        self._folder, self._replace = Path(folder) if folder is not None else None, replace
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                why = f"cannot be made ({problem.strerror})"
                raise UsageError(f"--keep {folder}", why, "Name another folder.") from problem
            remove_leftovers(self._folder.resolve())

    def __bool__(self) -> bool:
        return self._folder is not None

    def read(self, name: str, settings: Mapping[str, Any]) -> Arrays | None:
        """Return the arrays of a name, if they were made with the same settings."""
        path = self._path(f"{name}.npz")
        if path is None or not path.exists():
            return None
        try:
            with np.load(path) as file:
                arrays = dict(file)
            why = _changed_setting(read_json(str(arrays.pop("settings"))), settings)
        except _BROKEN:
            why = "cannot be read"
        if not why:
            return arrays
        if not self._replace:
            raise UsageError(str(path), why, "--force to replace it, or --keep another folder.")
        return None

    def write(self, name: str, settings: Mapping[str, Any], arrays: Arrays) -> None:
        """Keep arrays; an older file of the name is replaced."""
        if self:
            stream = io.BytesIO()
            np.savez_compressed(stream, settings=json.dumps(settings), **arrays)
            self.write_bytes(f"{name}.npz", stream.getvalue())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Keep a file; an older one of the name is replaced."""
        path = self._path(name)
        if path is not None:
            write_whole(str(path), data, force=True)

    def _path(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / re.sub(r"[^\w.+@=-]", "_", name)


def _changed_setting(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return a message about the first setting that differs, or nothing."""
    now = json.loads(json.dumps(now))  # tuples become lists, as in the file
    for key in dict.fromkeys([*now, *before]):
        if before.get(key) != now.get(key):
            return f"was made with another {key} ({before.get(key)}, now {now.get(key)})"
    return ""
