"""The output folder of a training: which files in it a training made, and may replace. Torch-free."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from bigain_cli.backbones.model_card import TRAINING_FOLDER, ModelCard

INDEX, README = "model_index.json", "README.md"
PARTS = ("scheduler", "text_encoder", "tokenizer", "transformer", "unet")
FRESH = ".new"
CHECKPOINT = "checkpoint.safetensors"
MADE = (CHECKPOINT, f".{CHECKPOINT}.part", "samples-*.png", ".bigain-*.part")


def checkpoint_of(folder: Path) -> Path:
    """Return where the checkpoint of a training is, or will be."""
    return folder / TRAINING_FOLDER / CHECKPOINT


def trained(folder: Path) -> bool:
    """Tell whether this folder holds a training's checkpoint or backbone."""
    return checkpoint_of(folder).is_file() or "recipe" in ModelCard.read(folder).about


def foreign_file(folder: Path) -> str | None:
    """Name a file that no training made, in a folder without a backbone; one killed early leaves traces."""
    ours = {path for pattern in MADE for path in (folder / TRAINING_FOLDER).glob(pattern)}
    for path in sorted(folder.iterdir()):
        if path.name == TRAINING_FOLDER and path.is_dir():
            if others := sorted(set(path.iterdir()) - ours):
                return str(others[0].relative_to(folder))
        elif path.name != FRESH:
            return path.name
    return None


def missing(folder: Path) -> list[Path]:
    """Return the folders that would have to be made for this one, itself first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def clear(folder: Path, made: Iterable[Path]) -> None:
    """Remove the empty folders of a training that wrote nothing, the inner ones first."""
    with contextlib.suppress(OSError):  # not empty
        for path in (folder / TRAINING_FOLDER, *made):
            path.rmdir()


def remove_checkpoints(folder: Path) -> None:
    """Remove an earlier training's checkpoint and sample grids, and nothing else."""
    for pattern in MADE:
        for path in (folder / TRAINING_FOLDER).glob(pattern):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not there, or there is something else in it
        (folder / TRAINING_FOLDER).rmdir()
