"""A checkpoint: weights, their average, the optimiser's moments and the recipe, in one safetensors file.

Replaced whole or not at all. Must not know what a step does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.json_text import read_json
from bigain_cli.limits import is_number
from bigain_cli.outputs.record_checks import is_count
from bigain_cli.outputs.renamed_file import replacing
from bigain_cli.outputs.shield import SHIELD


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to continue a training; the fields but `tensors` are keys of the file's metadata."""

    tensors: dict[str, Tensor]
    step: int
    recipe: dict[str, Any]
    data: str  # a digest of the images
    seconds: float
    words: dict[str, Any] = field(default_factory=dict)  # names of classes, templates, and the model to start from
    start: dict[str, Any] | None = None  # facts about that model
    options: dict[str, Any] = field(default_factory=dict)  # of the job: where its images are, and so on
    held_out: str = ""  # a digest of the images that are held out


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the file whole or not at all."""
    metadata = {name: value for name, value in vars(checkpoint).items() if name != "tensors"}
    try:
        with replacing(path, str(path)) as temporary:
            save_file(checkpoint.tensors, temporary, {"training": json.dumps(metadata)})
    except (OSError, SafetensorError) as problem:
        raise BigainError(str(path), f"the checkpoint cannot be written ({problem})", "Check the disk.") from problem


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint."""
    try:
        with SHIELD, safe_open(path, framework="pt") as file:  # or torch may turn a signal into an error
            metadata = read_json(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        found = Checkpoint(tensors, **metadata)
        if not (is_count(found.step) and is_number(found.seconds, 0)):
            raise ValueError(f"after {found.step!r} steps and {found.seconds!r} seconds")
        if not all(isinstance(table, dict) for table in (found.recipe, found.words, found.start or {})):
            raise ValueError("its recipe or its words are no table")
        return found
    except FileNotFoundError as problem:
        raise UsageError(str(path), "no checkpoint to continue from", "Leave out --resume to start.") from problem
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as problem:
        raise UsageError(str(path), f"not a checkpoint ({problem})", "Start again with --force.") from problem
