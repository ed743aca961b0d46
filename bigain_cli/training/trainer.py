"""`train`: a job in, the folder of a backbone out, and events on the way.

`FOLDER/training/` holds the checkpoint and the grids of samples; the folder itself is a usable model from the first
checkpoint on. Never prints.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import torch

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.devices import choose_device
from bigain_cli.backbones.loading import load
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.vocabulary import PromptVocabulary
from bigain_cli.errors import BigainError, ModelError, UsageError
from bigain_cli.generation.generated_image import arrange
from bigain_cli.generation.generator import generate
from bigain_cli.outputs.png import png
from bigain_cli.outputs.whole_files import held, write_whole
from bigain_cli.training.checkpoint import load_checkpoint, save_checkpoint
from bigain_cli.training.export import training_facts, write_backbone
from bigain_cli.training.image_tensors import LabelledImages, load_images, split
from bigain_cli.training.job import (
    VALIDATION,
    CheckpointSaved,
    Event,
    ImagesHeldOut,
    ImagesLoaded,
    TrainingDone,
    TrainingJob,
    TrainingProgress,
    TrainingResumed,
    TrainingWarning,
    ValidationProgress,
)
from bigain_cli.training.loss_history import LossHistory
from bigain_cli.training.networks import make_noise_schedule, make_trainable
from bigain_cli.training.output_folder import remove_checkpoints
from bigain_cli.training.recipe import ALL, Recipe
from bigain_cli.training.resuming import options_record
from bigain_cli.training.tokenizer import make_vocabulary
from bigain_cli.training.training_loop import SYNC_EVERY, Step, Training
from bigain_cli.training.validation import MIN_FOR_TEMPERATURE, Validation, prompt_of_each_class, validate
from bigain_cli.training.warm_start import WarmStart, copy_weights, warm_start

SCORE = "norm"  # on mini better than l2, on others as good: docs/measurements/accuracy.md
REPORT_SECONDS = 10.0  # seconds of training after which progress is reported, however slow the steps
COLUMNS, ROWS, STEPS, GUIDANCE = 8, 10, 20, 2.0  # of a grid of samples


def train(job: TrainingJob, resume: bool = False, replace: bool = False) -> Generator[Event, None, None]:
    """Train to the end and yield events; `resume` or `replace` what an earlier training left in the folder.

    Unsuitable data, folders and options are refused by the call itself, before anything is read or written.

    >>> job = bigain.TrainingJob(bigain.Recipe(size=16, images=256), "photos", "mymodel")
    >>> for event in bigain.train(job):
    ...     print(event)
    """
    job.check(resume, replace)
    return _train_alone(job, resume)


def _train_alone(job: TrainingJob, resume: bool) -> Generator[Event, None, None]:
    """Train while no other process may train in the same folder."""
    with ExitStack() as holding:
        hold = cache(lambda: holding.enter_context(held(str(job.checkpoint), str(job.path))))
        if job.checkpoint.parent.is_dir():
            hold()
        yield from _train(job, resume, hold)


def _train(job: TrainingJob, resume: bool, hold: Callable[[], None]) -> Iterator[Event]:
    device = _choose_device(job)
    start = _find_start(job) if job.start and not resume else None  # refused before all images are read
    if not resume:
        yield from _warnings(job.recipe, start)
    images, held_out = yield from _read_images(job)
    held_out = held_out and held_out.relabelled(images.classes)
    aside = held_out.digest() if held_out else ""
    vocabulary = make_vocabulary(images.classes, job.synonyms, job.templates)
    words: dict[str, Any] = {
        "classes": {name: list(names) for name, names in vocabulary.classes.items()},
        "templates": [*job.templates],
        **({"from": job.start} if job.start else {}),
    }
    checkpoint = load_checkpoint(job.checkpoint) if resume else None
    trainable = make_trainable(job.recipe, vocabulary)
    if start is not None:
        copy_weights(start, trainable, list(vocabulary.classes), job.recipe.keep)
    facts = checkpoint.start if checkpoint is not None else start.facts() if start is not None else None
    training = Training(
        job.recipe, trainable, make_noise_schedule(device, job.recipe.prediction), images, device, words, facts
    )
    folder = _BackboneFolder(job, training, vocabulary, resumed=checkpoint is not None)
    if checkpoint is not None:
        training.restore(checkpoint)
        if checkpoint.held_out and aside and aside != checkpoint.held_out:
            hint = "Give the same ones, or start again with --force."
            raise UsageError("--resume --held-out", "other images than those held out so far", hint)
        yield TrainingResumed(job.recipe.images_after(training.step), job.recipe.images)
        folder.write()  # the training may have been killed before or while it wrote this
    else:
        remove_checkpoints(job.path)
    _make_folder(job.checkpoint.parent)
    hold()
    yield from _take_steps(job, training, vocabulary, folder, aside)
    validation = None
    if held_out and job.validation != 0:
        validation = yield from _validate(job, vocabulary, held_out)
    folder.write(validation)
    if validation is not None and validation.temperature is None:
        why = f"no temperature was fitted, which takes {MIN_FOR_TEMPERATURE} held-out images"
        yield TrainingWarning(f"{why}: probabilities will say how sure the draws are, not how often they are right")
    accuracy = str(validation) if validation is not None else None
    first = next(iter(vocabulary.classes))
    prompt = first if job.recipe.arch == "dit" else vocabulary.prompt(first)
    yield TrainingDone(str(job.path), training.seconds, accuracy, prompt)


def _choose_device(job: TrainingJob) -> torch.device:
    device = choose_device(job.device)
    if job.recipe.precision == "float16" and device.type != "cuda":
        raise UsageError("--precision float16", f"needs a CUDA device, and this is {device.type}", "Use bfloat16.")
    return device


def _find_start(job: TrainingJob) -> WarmStart:
    source = warm_start(job.start, job.recipe)
    if source.folder.resolve() == job.path.resolve():
        raise UsageError(f"--from {job.start}", "would be overwritten", "Name another folder with -o.")
    return source


def _warnings(recipe: Recipe, start: WarmStart | None) -> Iterator[TrainingWarning]:
    """Say what a recipe does that hardly anybody means."""
    if recipe.warmup >= recipe.shortest_stage:
        why = f"the learning rate rises during the first {recipe.warmup} images, and there are {recipe.shortest_stage}"
        yield TrainingWarning(f"{why}: it stays low. Write a smaller warmup into a --recipe")
    before = start.card.about["recipe"].get("prediction", Recipe.prediction) if start else recipe.prediction
    if start and before != recipe.prediction and recipe.keep == ALL:
        yield TrainingWarning(
            f"{start.name} predicts {before}, and this training {recipe.prediction}: its output must be learnt anew"
        )


def _read_images(job: TrainingJob) -> Generator[Event, None, tuple[LabelledImages, LabelledImages | None]]:
    """Return the images to train on, and those that are held out."""
    images = yield from _load(job.images, job.recipe.size)
    if job.held_out is None or job.held_out == 0:
        return images, None
    if not isinstance(job.held_out, int | float):
        return images, (yield from _load(job.held_out, job.recipe.size))
    images, held_out = split(images, job.held_out)
    yield ImagesHeldOut(len(held_out))
    return images, held_out


def _load(source: LabelledImages | Path | str, size: int) -> Generator[Event, None, LabelledImages]:
    if isinstance(source, LabelledImages):
        return source
    started = time.monotonic()
    images = load_images(str(source), size)
    yield ImagesLoaded(str(source), len(images), len(images.classes), images.skipped, time.monotonic() - started)
    return images


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise BigainError(str(folder), f"cannot be made ({problem.strerror})", "Name another folder.") from problem


def _take_steps(
    job: TrainingJob, training: Training, vocabulary: PromptVocabulary, folder: _BackboneFolder, held_out: str
) -> Iterator[Event]:
    """Take the remaining steps, with progress and checkpoints on the way; `held_out` is a digest of these images."""
    recipe, progress = job.recipe, _ProgressReports(training)
    history = LossHistory(job.checkpoint, recipe.images_after(training.step))
    steps_between = max(1, job.every // recipe.batch)
    for step in training.run():
        progress.add(step)
        saved = step.number == recipe.steps or step.number % steps_between == 0
        if saved or step.number % SYNC_EVERY == 0 or progress.seconds_since > REPORT_SECONDS:
            history.add(report := progress.report(step), training.seconds)
            yield report
        if saved:
            now = dataclasses.replace(training.checkpoint(), options=options_record(job), held_out=held_out)
            save_checkpoint(job.checkpoint, now)
            history.write()
            folder.write()
            yield CheckpointSaved(
                recipe.images_after(step.number), _write_samples(job, vocabulary, step) if job.previews else ""
            )


class _ProgressReports:
    """Reports with pace and losses since the last one; the time of checkpoints and samples does not count."""

    def __init__(self, training: Training) -> None:
        self._training, self._step, self._seconds = training, training.step, training.seconds
        self._sums = torch.zeros(2, 3, device=training.device)  # of the losses, and of the steps that computed them

    @property
    def seconds_since(self) -> float:
        """Return the seconds of training since the last report."""
        return self._training.seconds - self._seconds

    def add(self, step: Step) -> None:
        """Add the losses of a step, without waiting for the device."""
        losses = torch.stack([step.error, step.contrast, step.classifier]).float()
        self._sums += torch.stack([losses, (losses != 0).float()])

    def report(self, step: Step) -> TrainingProgress:
        """Return the report up to this step, and start the next one."""
        recipe = self._training.recipe
        pace = (step.number - self._step) * recipe.batch / max(self.seconds_since, 1e-9)
        self._step, self._seconds = step.number, self._training.seconds
        done = recipe.images_after(step.number)
        error, contrast, classifier = (self._sums[0] / self._sums[1].clamp(min=1)).tolist()
        finite = all(map(math.isfinite, (error, contrast, classifier)))
        if not finite and not self._training.scaler.is_enabled():  # which skips a step that overflows in float16
            raise BigainError(f"step {step.number}", "the loss is no finite number", "Lower --rate, or use float32.")
        self._sums.zero_()
        return TrainingProgress(done, recipe.images, error, contrast, classifier, step.rate, pace)


def _validate(
    job: TrainingJob, vocabulary: PromptVocabulary, held_out: LabelledImages
) -> Generator[Event, None, Validation | None]:
    """Classify held-out images with the backbone that was written last."""
    validation, count = None, VALIDATION if job.validation is None else job.validation
    for event in validate(_load_backbone(job), vocabulary, held_out, count, job.recipe.seed):
        if isinstance(event, Validation):
            validation = event
        else:
            yield ValidationProgress(event, min(count, len(held_out)))
    return validation


def _load_backbone(job: TrainingJob) -> Backbone:
    return load(str(job.path.absolute()), job.device)


def _write_samples(job: TrainingJob, vocabulary: PromptVocabulary, step: Step) -> str:
    """Generate images of every class, with the same noise in every row, and write a grid of them."""
    path = job.checkpoint.with_name(f"samples-{job.recipe.images_after(step.number):09d}.png")
    backbone, seed = _load_backbone(job), job.recipe.seed
    prompts = prompt_of_each_class(backbone, vocabulary)[:ROWS]
    how: dict[str, Any] = {
        "count": COLUMNS,
        "sampler": "ddim",
        "steps": STEPS,
        "guidance": GUIDANCE,
        "seed": seed,
        "compress": "none",
    }
    try:
        samples = list(generate(backbone, prompts, **how))
    except BigainError as problem:
        raise BigainError(f"step {step.number}", f"its samples failed ({problem.why})", "Lower --rate.") from problem
    about = {"prompts": prompts, "seed": seed, "steps": STEPS}
    write_whole(str(path), png(arrange(samples).image, about), force=True)
    return str(path)


class _BackboneFolder:
    """Writes the averaged weights as a backbone, with its model card.

    What an earlier card of this training recommends stays, for it may have been measured since; accuracy and
    temperature stay only with the same weights. The card of another training, whose place this one takes, is not read.
    """

    def __init__(self, job: TrainingJob, training: Training, vocabulary: PromptVocabulary, resumed: bool) -> None:
        self._job, self._training, self._vocabulary = job, training, vocabulary
        self._has_card_of_ours = resumed

    def write(self, validation: Validation | None = None) -> None:
        """Write what there is now."""
        job, vocabulary = self._job, self._vocabulary
        source = job.source or ("" if isinstance(job.images, LabelledImages) else Path(job.images).resolve().name)
        facts = training_facts(source, self._training, validation)
        card = self._earlier_card()
        if validation is None and card.about.get("shown") == facts["shown"]:
            facts |= {key: value for key, value in card.about.items() if key == "held_out"}
        else:
            card = dataclasses.replace(card, temperature=validation.temperature if validation is not None else None)
        card = dataclasses.replace(
            card,
            patch=job.recipe.patch if job.recipe.arch == "unet" else 1,
            classes={name: tuple(words) for name, words in vocabulary.classes.items()},
            templates=tuple(vocabulary.templates),
            about=facts,
        )
        write_backbone(job.path, self._training, card)
        self._has_card_of_ours = True

    def _earlier_card(self) -> ModelCard:
        """Return the card that this training wrote before, or a new one."""
        new = ModelCard(score=SCORE, times=(self._job.recipe.compare_from, self._job.recipe.compare_to))
        if not self._has_card_of_ours:
            return new
        try:
            card = ModelCard.read(self._job.path)
        except ModelError:
            return new
        return card if card.about.get("recipe") == self._job.recipe.to_dict() else new
