"""`train`: a recipe and pictures in, a backbone's folder out, and events on the way. The composition root of this room.

`FOLDER/training/` holds the checkpoint and the sample grids; the folder itself is a usable model from the first
checkpoint on. Never prints.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bigain_cli.backbones.card import Card
from bigain_cli.backbones.loading import choose_device, load
from bigain_cli.backbones.phrases import Phrases
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.train.checkpoint import load_state, save_state
from bigain_cli.train.events import Done, Report, Saved
from bigain_cli.train.exam import Mark, examine
from bigain_cli.train.folder import make_process, write_backbone
from bigain_cli.train.loop import Step, Training
from bigain_cli.train.modelcard import card_of, describe
from bigain_cli.train.networks import make_learner
from bigain_cli.train.pictures import Pictures
from bigain_cli.train.preview import save_grid
from bigain_cli.train.recipe import Recipe

CHECKPOINT = "checkpoint.safetensors"
LOOK = 50  # steps between reports: each waits for the device


@dataclass(frozen=True)
class Job:
    """What to train on, how, and where to."""

    recipe: Recipe
    pictures: Pictures
    held_out: Pictures | None
    folder: Path
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    templates: Sequence[str] = ()
    source: str = ""
    device: str = "auto"
    every: int = 50_000  # pictures between checkpoints
    exam: int = 200  # held-out pictures that are classified at the end
    previews: bool = True


def train(job: Job, resume: bool = False) -> Iterator[Report | Saved | Done]:
    """Train to the end, giving an account of it; take up a checkpoint if asked to."""
    device = choose_device(job.device)
    _check(job, device)
    phrases = phrases_of(job)
    process = make_process(device)
    training = Training(job.recipe, make_learner(job.recipe, phrases), process, job.pictures, device)
    rooms = job.folder / "training"
    if resume:
        training.restore(load_state(rooms / CHECKPOINT))
    _make(rooms)
    pace = _Pace(training.step)
    last = max(1, job.every // job.recipe.batch)
    for step in training.run():
        if step.number % LOOK == 0 or step.number == job.recipe.steps:
            yield pace.report(step, job.recipe)
        if step.number % last == 0 or step.number == job.recipe.steps:
            save_state(rooms / CHECKPOINT, training.state())
            _publish(job, training, phrases, None)
            grid = rooms / f"samples-{step.number * job.recipe.batch:09d}.png"
            if job.previews:
                save_grid(load(str(job.folder), job.device), phrases, grid, job.recipe.seed)
            yield Saved(step.number * job.recipe.batch, str(grid) if job.previews else "")
    mark = None
    if job.held_out is not None and job.exam:
        mark = examine(load(str(job.folder), job.device), phrases, job.held_out, job.exam, job.recipe.seed)
    _publish(job, training, phrases, mark)
    yield Done(str(job.folder), training.seconds, str(mark) if mark is not None else None)


def phrases_of(job: Job) -> Phrases:
    """Return the classes with their synonyms; refuse names that say nothing or the same twice."""
    unknown = [name for name in job.synonyms if name not in job.pictures.classes]
    if unknown:
        hint = f"The classes are: {', '.join(job.pictures.classes)}."
        raise UsageError("--synonyms", f"{unknown[0]!r} is no class of this data", hint)
    classes = {name: (name, *(job.synonyms.get(name, ()))) for name in job.pictures.classes}
    classes = {name: tuple(dict.fromkeys(word.replace("_", " ") for word in words)) for name, words in classes.items()}
    owners: dict[str, str] = {}
    for name, words in classes.items():
        for word in words:
            if owners.setdefault(word.casefold(), name) != name:
                raise UsageError("--synonyms", f"{word!r} names both {owners[word.casefold()]} and {name}", "Drop one.")
    return Phrases(classes, tuple(job.templates))


class _Pace:
    """How fast it goes, over the steps since the last report."""

    def __init__(self, step: int) -> None:
        self._step, self._time = step, time.monotonic()

    def report(self, step: Step, recipe: Recipe) -> Report:
        now = time.monotonic()
        pace = (step.number - self._step) * recipe.batch / max(now - self._time, 1e-9)
        self._step, self._time = step.number, now
        left = (recipe.steps - step.number) * recipe.batch / pace
        return Report(step.number * recipe.batch, float(step.error), float(step.contrast), step.rate, pace, left)


def _check(job: Job, device: torch.device) -> None:
    if job.recipe.precision == "float16" and device.type != "cuda":
        raise UsageError("--precision float16", f"needs a CUDA device, and this is {device.type}", "Use bfloat16.")
    if job.held_out is not None and job.held_out.classes != job.pictures.classes:
        why = f"its classes ({', '.join(job.held_out.classes)}) are not those of the training data"
        raise UsageError("--held-out", why, "Give pictures of the same classes.")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise BigainError(str(folder), f"cannot be made ({problem.strerror})", "Name another folder.") from problem


def _publish(job: Job, training: Training, phrases: Phrases, mark: Mark | None) -> None:
    """Write the averaged weights as a backbone, with what is known about them."""
    about = describe(job.recipe, job.source, len(job.pictures), training, mark)
    card = Card(
        patch=job.recipe.patch if job.recipe.arch == "unet" else 1,
        classes={name: tuple(words) for name, words in phrases.classes.items()},
        templates=tuple(phrases.templates),
        about=about,
    )
    text = card_of(job.folder.name, phrases, about)
    write_backbone(job.folder, training.learner, training.averaged(), job.recipe, phrases, card, text)


def forget(folder: Path) -> None:
    """Remove an earlier training from a folder, and nothing else."""
    shutil.rmtree(folder / "training", ignore_errors=True)
