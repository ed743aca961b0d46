"""Arrays kept in a folder under names, each with the settings it was made with; others of the same name are refused.

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
from bigain_cli.outputs.files import write_whole

Arrays = dict[str, Any]
_BROKEN = (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error)  # what a file that is no whole one raises


class ArrayCache:
    """A folder, made if need be, or, without one, nothing that lasts."""

    def __init__(self, folder: str | None, replace: bool) -> None:
        self._folder, self._replace = Path(folder) if folder is not None else None, replace
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                why = f"cannot be made ({problem.strerror})"
                raise UsageError(f"--keep {folder}", why, "Name another folder.") from problem

    def __bool__(self) -> bool:
        return self._folder is not None

    def read(self, name: str, settings: Mapping[str, Any]) -> Arrays | None:
        """Return what was kept under a name and these very settings."""
        path = self._path(f"{name}.npz")
        if path is None or not path.exists():
            return None
        try:
            with np.load(path) as file:
                arrays = dict(file)
            why = _other(json.loads(str(arrays.pop("settings"))), settings)
        except _BROKEN:
            why = "cannot be read"
        if not why:
            return arrays
        if not self._replace:
            raise UsageError(str(path), why, "--force to replace it, or --keep another folder.")
        return None

    def write(self, name: str, settings: Mapping[str, Any], arrays: Arrays) -> None:
        """Keep arrays; whatever has the name is replaced."""
        if self:
            stream = io.BytesIO()
            np.savez_compressed(stream, settings=json.dumps(settings), **arrays)
            self.write_bytes(f"{name}.npz", stream.getvalue())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Keep a file; whatever has the name is replaced."""
        path = self._path(name)
        if path is not None:
            write_whole(str(path), data, force=True)

    def _path(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / re.sub(r"[^\w.+@=-]", "_", name)


def _other(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say in what settings differ, or nothing."""
    now = json.loads(json.dumps(now))  # tuples and the like as they come back
    for key in [*now, *(key for key in then if key not in now)]:
        if then.get(key) != now.get(key):
            return f"was made with another {key} ({then.get(key)}, now {now.get(key)})"
    return ""
