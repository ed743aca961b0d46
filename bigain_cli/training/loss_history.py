"""`training/losses.jsonl`: the losses of a training, a line for each report of its progress. Torch-free.

The file is written with every checkpoint, and a training that is resumed keeps the lines up to its checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigain_cli.json_text import read_json
from bigain_cli.outputs.whole_files import write_whole
from bigain_cli.training.job import TrainingProgress
from bigain_cli.training.output_folder import LOSSES


class LossHistory:
    """The lines of a training from its start on."""

    def __init__(self, checkpoint: Path, images: int) -> None:
        """Begin with the lines up to so many images, of those that are there."""
        self._path = checkpoint.with_name(LOSSES)
        self._lines = [line for line in _lines_of(self._path) if line["images"] <= images]

    def add(self, progress: TrainingProgress, seconds: float) -> None:
        """Add what is reported after so many seconds of training."""
        losses = {name: float(f"{loss:.5g}") for name, loss in progress.losses().items()}
        rate = float(f"{progress.rate:.4g}")
        self._lines.append({"images": progress.images, **losses, "rate": rate, "seconds": round(seconds, 1)})

    def write(self) -> None:
        """Write all lines."""
        text = "".join(json.dumps(line) + "\n" for line in self._lines)
        write_whole(str(self._path), text.encode(), force=True)


def _lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of an earlier file, but for what is unreadable in it: no training fails for its sake."""
    try:
        content = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in content.splitlines():
        try:
            found = read_json(line)
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("images"), int):
            yield found
