"""`train`: a recipe and pictures in, a backbone's folder out, and events on the way. The composition root of this room.

`FOLDER/training/` holds the checkpoint and the sample grids; the folder itself is a usable model from the first
checkpoint on. Never prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.card import Card
from bigain_cli.backbones.loading import choose_device, load
from bigain_cli.backbones.phrases import Phrases
from bigain_cli.errors import BigainError, ModelError, UsageError
from bigain_cli.train.checkpoint import load_state, save_state
from bigain_cli.train.events import Done, Examined, Report, Resumed, Saved
from bigain_cli.train.exam import Mark, examine
from bigain_cli.train.folder import make_process, write_backbone
from bigain_cli.train.heritage import bequeath, heritage
from bigain_cli.train.holdings import checkpoint_of, forget
from bigain_cli.train.loop import LOOK, Step, Training
from bigain_cli.train.modelcard import card_of, describe
from bigain_cli.train.networks import Learner, make_learner
from bigain_cli.train.pictures import Pictures
from bigain_cli.train.preview import save_grid
from bigain_cli.train.recipe import TEMPLATES, Recipe
from bigain_cli.train.words import make_phrases

SCORE = "norm"  # better than l2 on every model that was trained so far: README.md, what was measured
PATIENCE = 10.0  # seconds of training after which a report is due, however slow the steps


@dataclass(frozen=True)
class Job:
    """What to train on, how, and where to."""

    recipe: Recipe
    pictures: Pictures
    held_out: Pictures | None
    folder: Path
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    templates: Sequence[str] = TEMPLATES
    source: str = ""
    device: str = "auto"
    every: int = 50_000  # pictures between checkpoints
    exam: int = 200  # held-out pictures that are classified at the end
    previews: bool = True
    start: str = ""  # a backbone whose weights to begin from


def train(job: Job, resume: bool = False) -> Iterator[Resumed | Report | Saved | Examined | Done]:
    """Train to the end, giving an account of it; take up a checkpoint if asked to, else forget an earlier one."""
    device = device_for(job.recipe, job.device)
    held_out = job.held_out and job.held_out.named_as(job.pictures.classes)
    phrases = make_phrases(job.pictures.classes, job.synonyms, job.templates)
    words: dict[str, Any] = {
        "classes": {name: list(names) for name, names in phrases.classes.items()},
        "templates": [*job.templates],
        **({"from": job.start} if job.start else {}),
    }
    state = load_state(checkpoint_of(job.folder)) if resume else None
    learner = make_learner(job.recipe, phrases)
    about = state.start if state is not None else _inherited(job, learner, phrases)
    training = Training(job.recipe, learner, make_process(device), job.pictures, device, words, about)
    if state is not None:
        training.restore(state)
        yield Resumed(job.recipe.shown(training.step))
        _publish(job, training, phrases)  # whatever ended it may have come before, or in the middle of, this
    else:
        forget(job.folder)
    _make(checkpoint_of(job.folder).parent)
    yield from _steps(job, training, phrases)
    mark = None
    if held_out and job.exam:
        for found in examine(_backbone(job), phrases, held_out, job.exam, job.recipe.seed):
            if isinstance(found, Mark):
                mark = found
            else:
                yield Examined(found, min(job.exam, len(held_out)))
    _publish(job, training, phrases, mark)
    yield Done(str(job.folder), training.seconds, str(mark) if mark is not None else None)


def device_for(recipe: Recipe, name: str) -> torch.device:
    """Return the device asked for, if it can do what the recipe wants."""
    device = choose_device(name)
    if recipe.precision == "float16" and device.type != "cuda":
        raise UsageError("--precision float16", f"needs a CUDA device, and this is {device.type}", "Use bfloat16.")
    return device


def _inherited(job: Job, learner: Learner, phrases: Phrases) -> dict[str, Any] | None:
    """Give a learner the weights to begin from, if there are any, and return whose they are."""
    if not job.start:
        return None
    source = heritage(job.start, job.recipe)
    if source.folder.resolve() == job.folder.resolve():
        raise UsageError(f"--from {job.start}", "would be overwritten", "Name another folder with -o.")
    bequeath(source, learner, list(phrases.classes))
    return source.about()


def _steps(job: Job, training: Training, phrases: Phrases) -> Iterator[Report | Saved]:
    """Take the steps that are left, with reports and checkpoints on the way."""
    recipe, pace = job.recipe, _Pace(training)
    apart = max(1, job.every // recipe.batch)
    for step in training.run():
        last = step.number == recipe.steps
        if last or step.number % LOOK == 0 or pace.waiting > PATIENCE:
            yield pace.report(step)
        if last or step.number % apart == 0:
            save_state(checkpoint_of(job.folder), training.state())
            _publish(job, training, phrases)
            yield Saved(recipe.shown(step.number), _preview(job, phrases, step) if job.previews else "")


class _Pace:
    """How fast it goes, over the steps since the last report; checkpoints and samples do not count."""

    def __init__(self, training: Training) -> None:
        self._training, self._step, self._seconds = training, training.step, training.seconds

    @property
    def waiting(self) -> float:
        """Return the seconds of training since the last report."""
        return self._training.seconds - self._seconds

    def report(self, step: Step) -> Report:
        recipe = self._training.recipe
        pace = (step.number - self._step) * recipe.batch / max(self.waiting, 1e-9)
        self._step, self._seconds = step.number, self._training.seconds
        left = (recipe.steps - step.number) * recipe.batch / pace
        return Report(recipe.shown(step.number), float(step.error), float(step.contrast), step.rate, pace, left)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise BigainError(str(folder), f"cannot be made ({problem.strerror})", "Name another folder.") from problem


def _backbone(job: Job) -> Backbone:
    return load(str(job.folder.absolute()), job.device)


def _preview(job: Job, phrases: Phrases, step: Step) -> str:
    grid = checkpoint_of(job.folder).with_name(f"samples-{job.recipe.shown(step.number):09d}.png")
    save_grid(_backbone(job), phrases, grid, job.recipe.seed)
    return str(grid)


def _publish(job: Job, training: Training, phrases: Phrases, mark: Mark | None = None) -> None:
    """Write the averaged weights as a backbone, with what is known about them.

    What the folder recommends stays, for somebody may have measured it; accuracy and temperature are the weights' own.
    """
    about = describe(job.recipe, job.source, len(job.pictures), training, mark)
    card = _card(job.folder, job.recipe)
    if mark is None and card.about.get("shown") == about["shown"]:
        about |= {key: value for key, value in card.about.items() if key == "held_out"}
    else:
        card = replace(card, temperature=mark.temperature if mark is not None else None)
    card = replace(
        card,
        patch=job.recipe.patch if job.recipe.arch == "unet" else 1,
        classes={name: tuple(words) for name, words in phrases.classes.items()},
        templates=tuple(phrases.templates),
        about=about,
    )
    text = card_of(job.folder.absolute().name, phrases, about)
    write_backbone(job.folder, training.learner, training.averaged(), job.recipe, phrases, card, text)


def _card(folder: Path, recipe: Recipe) -> Card:
    """Return the card of this training that is there already, or a new one."""
    try:
        card = Card.read(folder)
    except ModelError:
        card = Card()
    return card if card.about.get("recipe") == recipe.to_dict() else Card(score=SCORE)
