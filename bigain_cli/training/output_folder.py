"""The output folder of a training: which of its files a training wrote, and may replace. Torch-free."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from bigain_cli.backbones.model_card import TRAINING_FOLDER, ModelCard
from bigain_cli.errors import UsageError
from bigain_cli.outputs.part_folders import PREFIX, SUFFIX

INDEX, README = "model_index.json", "README.md"
PARTS = ("scheduler", "text_encoder", "tokenizer", "transformer", "unet")
NEW = ".new"  # holds the parts of a backbone until all are written
CHECKPOINT = "checkpoint.safetensors"
LOSSES = "losses.jsonl"
TRAINING_FILES = (CHECKPOINT, f".{CHECKPOINT}.part", LOSSES, "samples-*.png", f"{PREFIX}*{SUFFIX}")


def checkpoint_of(folder: Path) -> Path:
    """Return where the checkpoint of a training is, or will be."""
    return folder / TRAINING_FOLDER / CHECKPOINT


def require_checkpoint(folder: Path) -> None:
    """Refuse to resume where there is nothing to continue from."""
    if not checkpoint_of(folder).is_file():
        why = f"no checkpoint in {folder} to continue from"
        raise UsageError("--resume", why, "Leave out --resume to start.")


def holds_training(folder: Path) -> bool:
    """Return whether this folder holds a training's checkpoint or backbone."""
    return checkpoint_of(folder).is_file() or "recipe" in ModelCard.read(folder).about


def foreign_file(folder: Path) -> str | None:
    """Return a file that no training wrote, in a folder without a backbone; a killed training may leave some files."""
    ours = {path for pattern in TRAINING_FILES for path in (folder / TRAINING_FOLDER).glob(pattern)}
    for path in sorted(folder.iterdir()):
        if path.name == TRAINING_FOLDER and path.is_dir():
            if others := sorted(set(path.iterdir()) - ours):
                return str(others[0].relative_to(folder))
        elif path.name != NEW:
            return path.name
    return None


def missing_folders(folder: Path) -> list[Path]:
    """Return the folders that must be made for this one, itself first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_empty_folders(folder: Path, made: Iterable[Path]) -> None:
    """Remove the folders of a training that wrote nothing, the inner ones first."""
    with contextlib.suppress(OSError):  # not empty
        for path in (folder / TRAINING_FOLDER, *made):
            path.rmdir()


def remove_checkpoints(folder: Path) -> None:
    """Remove an earlier training's checkpoint, losses and sample grids, and nothing else."""
    for pattern in TRAINING_FILES:
        for path in (folder / TRAINING_FOLDER).glob(pattern):
            if not path.is_dir():
                path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it does not exist, or holds something else
        (folder / TRAINING_FOLDER).rmdir()
