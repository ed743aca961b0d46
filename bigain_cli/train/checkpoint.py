"""A training's state on disk: weights, their average, the optimiser's moments, the recipe; one safetensors file.

Replaced whole or not at all. Must not know what a step does.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bigain_cli.errors import BigainError, UsageError


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
    """Write under a temporary name, bring to the disk, rename."""
    about = {name: value for name, value in vars(state).items() if name != "tensors"}
    temporary = path.with_name(f".{path.name}.part")
    try:
        save_file(state.tensors, temporary, {"training": json.dumps(about)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as problem:
        raise BigainError(str(path), f"the checkpoint cannot be written ({problem})", "Check the disk.") from problem
    finally:
        temporary.unlink(missing_ok=True)


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
