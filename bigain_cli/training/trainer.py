"""`train`: a job in, a backbone's folder out, and events on the way. The composition root of this room.

`FOLDER/training/` holds the checkpoint and the sample grids; the folder itself is a usable model from the first
checkpoint on. Never prints.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.devices import choose_device
from bigain_cli.backbones.loading import load
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.vocabulary import PromptVocabulary
from bigain_cli.errors import BigainError, ModelError, UsageError
from bigain_cli.generation.generator import generate
from bigain_cli.outputs.files import write_whole
from bigain_cli.outputs.png import png, tiled
from bigain_cli.training.checkpoint import load_state, save_state
from bigain_cli.training.export import make_process, write_backbone
from bigain_cli.training.image_tensors import LabelledImages, load_images, split
from bigain_cli.training.job import (
    Done,
    Event,
    HeldOut,
    ImagesRead,
    Resumed,
    Saved,
    TrainingJob,
    TrainingProgress,
    ValidationProgress,
)
from bigain_cli.training.model_page import card_of, describe
from bigain_cli.training.networks import make_trainable
from bigain_cli.training.output_folder import checkpoint_of, remove_checkpoints
from bigain_cli.training.recipe import Recipe
from bigain_cli.training.tokenizer import make_phrases
from bigain_cli.training.training_loop import SYNC_EVERY, Step, Training
from bigain_cli.training.validation import Validation, questions, validate
from bigain_cli.training.warm_start import WarmStart, copy_weights, warm_start

SCORE = "norm"  # better than l2 on every model that was trained so far: README.md, what was measured
PATIENCE = 10.0  # seconds of training after which a report is due, however slow the steps
COLUMNS, ROWS, STEPS, GUIDANCE = 8, 10, 20, 2.0  # of a grid of samples


def train(job: TrainingJob, resume: bool = False) -> Iterator[Event]:
    """Train to the end, reporting how it goes; continue from a checkpoint if asked to, else remove an earlier one."""
    device = device_for(job.recipe, job.device)
    start = _start(job) if job.start and not resume else None  # refused before all images are read
    images, held_out = yield from _read(job)
    held_out = held_out and held_out.named_as(images.classes)
    phrases = make_phrases(images.classes, job.synonyms, job.templates)
    words: dict[str, Any] = {
        "classes": {name: list(names) for name, names in phrases.classes.items()},
        "templates": [*job.templates],
        **({"from": job.start} if job.start else {}),
    }
    state = load_state(checkpoint_of(job.folder)) if resume else None
    trainable = make_trainable(job.recipe, phrases)
    if start is not None:
        copy_weights(start, trainable, list(phrases.classes))
    about = state.start if state is not None else start.about() if start is not None else None
    training = Training(job.recipe, trainable, make_process(device), images, device, words, about)
    if state is not None:
        training.restore(state)
        yield Resumed(job.recipe.images_after(training.step), job.recipe.images)
        _publish(job, training, phrases)  # whatever ended it may have come before, or in the middle of, this
    else:
        remove_checkpoints(job.folder)
    _make(checkpoint_of(job.folder).parent)
    yield from _steps(job, training, phrases)
    validation = None
    if held_out and job.validation:
        validation = yield from _validate(job, phrases, held_out)
    _publish(job, training, phrases, validation)
    yield Done(str(job.folder), training.seconds, str(validation) if validation is not None else None)


def device_for(recipe: Recipe, name: str) -> torch.device:
    """Return the device of that name, if it can do what the recipe wants."""
    device = choose_device(name)
    if recipe.precision == "float16" and device.type != "cuda":
        raise UsageError("--precision float16", f"needs a CUDA device, and this is {device.type}", "Use bfloat16.")
    return device


def _start(job: TrainingJob) -> WarmStart:
    source = warm_start(job.start, job.recipe)
    if source.folder.resolve() == job.folder.resolve():
        raise UsageError(f"--from {job.start}", "would be overwritten", "Name another folder with -o.")
    return source


def _read(job: TrainingJob) -> Generator[Event, None, tuple[LabelledImages, LabelledImages | None]]:
    """Read the images to train on, and those that are held out."""
    images = yield from _loaded(job.images, job.recipe.size)
    if isinstance(job.held_out, int | float):
        images, held_out = split(images, job.held_out, job.recipe.seed) if job.held_out else (images, None)
        if held_out is not None:
            yield HeldOut(len(held_out))
        return images, held_out
    held_out = None if job.held_out is None else (yield from _loaded(job.held_out, job.recipe.size))
    return images, held_out


def _loaded(source: LabelledImages | str, size: int) -> Generator[Event, None, LabelledImages]:
    if isinstance(source, LabelledImages):
        return source
    started = time.monotonic()
    images = load_images(source, size)
    yield ImagesRead(source, len(images), len(images.classes), images.skipped, time.monotonic() - started)
    return images


def _steps(job: TrainingJob, training: Training, phrases: PromptVocabulary) -> Iterator[Event]:
    """Take the steps that are left, with reports and checkpoints on the way."""
    recipe, pace = job.recipe, _Pace(training)
    apart = max(1, job.every // recipe.batch)
    for step in training.run():
        last = step.number == recipe.steps
        if last or step.number % SYNC_EVERY == 0 or pace.waiting > PATIENCE:
            yield pace.report(step)
        if last or step.number % apart == 0:
            save_state(checkpoint_of(job.folder), training.state())
            _publish(job, training, phrases)
            yield Saved(recipe.images_after(step.number), _preview(job, phrases, step) if job.previews else "")


class _Pace:
    """How fast it goes, over the steps since the last report; checkpoints and samples do not count."""

    def __init__(self, training: Training) -> None:
        self._training, self._step, self._seconds = training, training.step, training.seconds

    @property
    def waiting(self) -> float:
        """Return the seconds of training since the last report."""
        return self._training.seconds - self._seconds

    def report(self, step: Step) -> TrainingProgress:
        recipe = self._training.recipe
        pace = (step.number - self._step) * recipe.batch / max(self.waiting, 1e-9)
        self._step, self._seconds = step.number, self._training.seconds
        done = recipe.images_after(step.number)
        return TrainingProgress(done, recipe.images, float(step.error), float(step.contrast), step.rate, pace)


def _validate(
    job: TrainingJob, phrases: PromptVocabulary, held_out: LabelledImages
) -> Generator[Event, None, Validation | None]:
    """Classify held-out images with the backbone that was written last."""
    validation = None
    for found in validate(_backbone(job), phrases, held_out, job.validation, job.recipe.seed):
        if isinstance(found, Validation):
            validation = found
        else:
            yield ValidationProgress(found, min(job.validation, len(held_out)))
    return validation


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise BigainError(str(folder), f"cannot be made ({problem.strerror})", "Name another folder.") from problem


def _backbone(job: TrainingJob) -> Backbone:
    return load(str(job.folder.absolute()), job.device)


def _preview(job: TrainingJob, phrases: PromptVocabulary, step: Step) -> str:
    """Generate every class a few times, the same noise down every column, and write a grid of them."""
    path = checkpoint_of(job.folder).with_name(f"samples-{job.recipe.images_after(step.number):09d}.png")
    backbone, seed = _backbone(job), job.recipe.seed
    prompts = questions(backbone, phrases)[:ROWS]
    samples = generate(
        backbone, prompts, count=COLUMNS, sampler="ddim", steps=STEPS, guidance=GUIDANCE, seed=seed, compress="none"
    )
    grid = tiled([sample.image for sample in samples], COLUMNS)
    write_whole(str(path), png(grid, {"prompts": prompts, "seed": seed, "steps": STEPS}), force=True)
    return str(path)


def _publish(
    job: TrainingJob, training: Training, phrases: PromptVocabulary, validation: Validation | None = None
) -> None:
    """Write the averaged weights as a backbone, with what is known about them.

    What the folder recommends stays, for somebody may have measured it; accuracy and temperature are the weights' own.
    """
    source = job.source or (Path(job.images).resolve().name if isinstance(job.images, str) else "")
    about = describe(source, training, validation)
    card = _card(job.folder, job.recipe)
    if validation is None and card.about.get("shown") == about["shown"]:
        about |= {key: value for key, value in card.about.items() if key == "held_out"}
    else:
        card = replace(card, temperature=validation.temperature if validation is not None else None)
    card = replace(
        card,
        patch=job.recipe.patch if job.recipe.arch == "unet" else 1,
        classes={name: tuple(words) for name, words in phrases.classes.items()},
        templates=tuple(phrases.templates),
        about=about,
    )
    text = card_of(job.folder.absolute().name, phrases, about)
    write_backbone(job.folder, training.trainable, training.averaged(), job.recipe, phrases, card, text)


def _card(folder: Path, recipe: Recipe) -> ModelCard:
    """Return the card of this training that is there already, or a new one."""
    try:
        card = ModelCard.read(folder)
    except ModelError:
        card = ModelCard()
    return card if card.about.get("recipe") == recipe.to_dict() else ModelCard(score=SCORE)
