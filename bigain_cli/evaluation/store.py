"""Arrays kept in a folder under names, each with the settings it was made with; others of the same name are refused.

In: names, settings, arrays; out: arrays. Must not know what they mean.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from bigain_cli.errors import UsageError
from bigain_cli.outputs.files import write_whole

Arrays = dict[str, Any]


class Store:
    """A folder, or, without one, nothing that lasts."""

    def __init__(self, folder: str | None, replace: bool) -> None:
        self._folder, self._replace = folder, replace

    def path(self, name: str) -> Path | None:
        """Return where a file of that name lies."""
        return None if self._folder is None else Path(self._folder) / re.sub(r"[^\w.+@=-]", "_", name)

    def read(self, name: str, settings: Mapping[str, Any]) -> Arrays | None:
        """Return what was kept under a name and these very settings."""
        path = self.path(f"{name}.npz")
        if path is None or not path.exists():
            return None
        try:
            with np.load(path) as file:
                arrays = dict(file)
            if str(arrays.pop("settings")) == json.dumps(settings):
                return arrays
            why = "was made with other settings"
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            why = "cannot be read"
        if not self._replace:
            raise UsageError(str(path), why, "--force to replace it, or --keep another folder.")
        return None

    def write(self, name: str, settings: Mapping[str, Any], arrays: Arrays) -> None:
        """Keep arrays; whatever has the name is replaced."""
        stream = io.BytesIO()
        np.savez_compressed(stream, settings=json.dumps(settings), **arrays)
        self.write_bytes(f"{name}.npz", stream.getvalue())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Keep a file; whatever has the name is replaced."""
        path = self.path(name)
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise UsageError(str(path.parent), f"cannot be made ({problem.strerror})", "Name another.") from problem
            write_whole(str(path), data, force=True)
