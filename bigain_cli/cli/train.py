"""`bigain train`: its options, their checks without torch, and the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from bigain_cli.cli import options
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import effort_option, input_option, label_option, model_option, more_option, output_option
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.errors import UsageError
from bigain_cli.labels.templates import fill
from bigain_cli.training.job import (
    HELD_OUT,
    VALIDATION,
    Event,
    ImagesLoaded,
    TrainingJob,
    TrainingProgress,
    ValidationProgress,
    read_synonyms,
)
from bigain_cli.training.output_folder import (
    checkpoint_of,
    foreign_file,
    holds_training,
    missing_folders,
    remove_empty_folders,
)
from bigain_cli.training.recipe import ABOUT, TEMPLATES, WIDTHS, Recipe, load_recipe


def _recipe_option(name: str, option: Any, metavar: str, default: str | None = None) -> Any:
    """Return the option of a recipe's key; its default is the recipe's."""
    return option(help=f"{ABOUT[name]}.", metavar=metavar, show_default=default or str(getattr(Recipe, name)))


_BY_ARCH = ", ".join(f"{value} for {name}" for name, value in WIDTHS.items())
_DATA = "A folder with a folder of images per class, or safetensors with jpeg, offsets, labels and classes."


def train(
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help=_DATA, rich_help_panel="Input")] = None,
    held_out: Annotated[
        str, input_option(metavar="SHARE|PATH", help="Validation images: a share of each class, or other data.")
    ] = f"{HELD_OUT:g}",
    synonyms: Annotated[
        str | None, label_option(metavar="FILE", help='A JSON file of other names: {"automobile": ["car"]}.')
    ] = None,
    template: Annotated[
        list[str] | None,
        label_option("--template", "-t", metavar="TEXT", help='Prompt, as "a photo of a {}."; repeatable.'),
    ] = None,
    arch: Annotated[str | None, _recipe_option("arch", model_option, "NAME")] = None,
    size: Annotated[int | None, _recipe_option("size", model_option, "PIXELS")] = None,
    width: Annotated[int | None, _recipe_option("width", model_option, "N", _BY_ARCH)] = None,
    start: Annotated[
        str | None, model_option("--from", metavar="MODEL", help="Start from this model's weights.")
    ] = None,
    images: Annotated[int | None, _recipe_option("images", effort_option, "N")] = None,
    batch: Annotated[int | None, _recipe_option("batch", effort_option, "N")] = None,
    rate: Annotated[float | None, _recipe_option("rate", effort_option, "X")] = None,
    precision: Annotated[str | None, _recipe_option("precision", effort_option, "DTYPE")] = None,
    seed: Annotated[int | None, _recipe_option("seed", effort_option, "N")] = None,
    recipe: Annotated[
        str | None,
        effort_option(metavar="FILE.toml", help="Read these and all other settings from a file."),
    ] = None,
    recipe_template: Annotated[
        bool, effort_option("--recipe-template", help="Print a recipe with these options, and exit.")
    ] = False,
    device: options.Device = "auto",
    validation: Annotated[
        int | None,
        more_option(min=0, metavar="N", help="Validation images to classify at the end.", show_default=str(VALIDATION)),
    ] = None,
    output: Annotated[
        str | None, output_option("--output", "-o", metavar="FOLDER", help="Where to write the backbone.")
    ] = None,
    resume: Annotated[bool, output_option("--resume", help="Continue from the last checkpoint.")] = False,
    force: Annotated[bool, output_option("--force", help="Start again in a folder that holds a backbone.")] = False,
    every: Annotated[int, more_option(min=1, metavar="N", help="Images between checkpoints and samples.")] = 50_000,
    quiet: options.Quiet = False,
    verbose: Annotated[bool, more_option("--verbose", "-v", help="Name every skipped image.")] = False,
) -> int:
    """Train a small backbone on a folder of class folders.

    \b
    Examples:
      bigain train photos/ -o mymodel
      bigain train photos/ -o mymodel --from mini --rate 3e-4
      bigain train --recipe-template --arch dit > recipe.toml
    """
    options.check_output(output, "mymodel")
    given: dict[str, Any] = {"arch": arch, "size": size, "width": width, "images": images, "batch": batch}
    given |= {"rate": rate, "precision": precision, "seed": seed}
    chosen = load_recipe(recipe, {key: value for key, value in given.items() if value is not None})
    if recipe_template:
        typer.echo(chosen.to_toml(), nl=False)
        return 0
    if data is None:
        raise UsageError("no data", "there is nothing to train on", "Give a folder of class folders.")
    if output is None:
        raise UsageError("no output", "nowhere to write the backbone", "Add -o FOLDER.")
    excluded = _read_held_out(held_out)
    if validation is None:
        validation = VALIDATION if excluded else 0
    other_names = read_synonyms(synonyms) if synonyms else {}
    job = TrainingJob(
        chosen, data, Path(output), excluded, other_names, template or TEMPLATES,
        device=device, every=every, validation=validation, start=start or "",
    )  # fmt: skip
    _check_request(job, resume, force)
    return _run(job, resume, Messages.start(quiet, verbose))


def _read_held_out(text: str) -> float | str:
    """Return the share of each class, or the path, of --held-out."""
    try:
        share = float(text)
    except ValueError:
        return text
    if not 0 <= share < 1:
        raise UsageError(f"--held-out {text}", "a share is from 0 up to, but not including, 1", "0.1 is usual.")
    return share


def _check_request(job: TrainingJob, resume: bool, force: bool) -> None:
    """Refuse contradictions, data that is not there, and an unsuitable output folder."""
    if job.templates != TEMPLATES and job.recipe.arch == "dit":
        raise UsageError("--template", "a transformer reads class numbers, not sentences", "Leave it out.")
    if job.validation and job.held_out == 0:
        raise UsageError("--validation", "no images are held out", "Leave it out.")
    if resume and force:
        raise UsageError("--resume --force", "one continues the training, the other starts again", "Choose one.")
    for template in job.templates:
        fill(template, "")
    if job.folder.exists() and not job.folder.is_dir():
        raise UsageError(str(job.folder), "a file, not a folder", "Name a folder.")
    folder = job.folder.resolve()
    for source in (job.images, job.held_out):
        if not isinstance(source, str):
            continue
        if not os.path.exists(source):
            hint = "Give a folder of class folders, or a .safetensors file."
            raise UsageError(source, "no such folder or file", hint)
        if os.path.isdir(source) and folder.is_relative_to(Path(source).resolve()):
            why = f"inside {source}, where it would pass for a class"
            raise UsageError(str(job.folder), why, "Name a folder elsewhere.")
    _check_folder(job.folder, resume, force)


def _check_folder(folder: Path, resume: bool, force: bool) -> None:
    """Refuse a folder without a checkpoint to resume, or with other things in it."""
    if resume:
        if not checkpoint_of(folder).is_file():
            why = f"no checkpoint in {folder} to continue from"
            raise UsageError("--resume", why, "Leave out --resume to start.")
    elif folder.is_dir() and holds_training(folder):
        if not force:
            raise UsageError(str(folder), "holds a backbone already", "--resume to continue, --force to start again.")
    elif folder.is_dir() and (other := foreign_file(folder)):
        raise UsageError(str(folder), f"holds other things ({other}, …)", "Name a new folder.")


def _run(job: TrainingJob, resume: bool, messages: Messages) -> int:
    """Train, showing progress; print the folder at the end."""
    from bigain_cli.training.trainer import train as training_events

    new_folders = missing_folders(job.folder)
    try:
        _report(training_events(job, resume), messages)
    except KeyboardInterrupt:
        if checkpoint_of(job.folder).is_file():
            messages.note(f"{job.folder} holds the last checkpoint: repeat the command with --resume (without --force)")
        else:
            messages.note("there is no checkpoint yet: repeat the command to start again")
            remove_empty_folders(job.folder, new_folders)
        raise
    typer.echo(job.folder)
    return 0


def _report(events: Iterator[Event], messages: Messages) -> None:
    """Show progress as a bar, and write all other events as lines, on stderr."""
    stage = ""
    with ExitStack() as bars:
        for event in events:
            if isinstance(event, TrainingProgress | ValidationProgress):
                if event.stage != stage:
                    bars.close()
                    stage, progress = event.stage, ProgressBar(messages, event.stage, "images", before=event.images)
                    bars.enter_context(progress)
                progress.show(event.images, event.of, str(event))
                continue
            messages.note(str(event))
            for reason in event.skipped if isinstance(event, ImagesLoaded) else ():
                messages.detail(f"skipped: {reason}")
