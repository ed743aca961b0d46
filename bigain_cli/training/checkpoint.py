"""A training's state on disk: weights, their average, the optimiser's moments, the recipe; one safetensors file.

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
from bigain_cli.outputs.files import replacing


@dataclass(frozen=True)
class State:
    """Everything it takes to continue."""

    tensors: dict[str, Tensor]
    step: int
    recipe: dict[str, Any]
    data: str  # a digest of what was trained on
    seconds: float
    words: dict[str, Any] = field(default_factory=dict)  # the classes' names and templates, and what it started from
    start: dict[str, Any] | None = None  # what is known about that


def save_state(path: Path, state: State) -> None:
    """Write the file whole or not at all; its temporary name is always the same, so that a killed run leaves one."""
    about = {name: value for name, value in vars(state).items() if name != "tensors"}
    try:
        with replacing(path, str(path), f".{path.name}.part") as temporary:
            save_file(state.tensors, temporary, {"training": json.dumps(about)})
    except (OSError, SafetensorError) as problem:
        raise BigainError(str(path), f"the checkpoint cannot be written ({problem})", "Check the disk.") from problem


def load_state(path: Path) -> State:
    """Read a checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return State(tensors, **about)
    except FileNotFoundError as problem:
        raise UsageError(str(path), "no checkpoint to continue from", "Leave out --resume to start.") from problem
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as problem:
        raise UsageError(str(path), f"not a checkpoint ({problem})", "Start again with --force.") from problem
