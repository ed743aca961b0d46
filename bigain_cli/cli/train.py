"""`bigain train`: options in, a job out; progress goes to stderr, the finished folder to stdout."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import (
    Device,
    Quiet,
    check_output,
    effort_option,
    input_option,
    label_option,
    model_option,
    more_option,
    output_option,
)
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.errors import UsageError
from bigain_cli.labels.templates import fill
from bigain_cli.training.job import (
    HELD_OUT,
    VALIDATION,
    Event,
    ImagesRead,
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


def _key(name: str, panel: str, default: str | None = None) -> Any:
    """Make the option of a recipe's key; where it is not given, the recipe file decides."""
    return typer.Option(
        help=f"{ABOUT[name]}.", show_default=default or str(getattr(Recipe, name)), rich_help_panel=panel
    )


_BY_ARCH = ", ".join(f"{value} for {name}" for name, value in WIDTHS.items())
_DATA = "A folder with a folder of images per class, or safetensors with jpeg, offsets, labels and classes."


def train(
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help=_DATA, rich_help_panel="Input")] = None,
    held_out: Annotated[
        str, input_option(metavar="SHARE|PATH", help="Images to validate on: a share of each class, or more data.")
    ] = f"{HELD_OUT:g}",
    synonyms: Annotated[
        str | None, label_option(metavar="FILE", help='Other names of classes, as {"automobile": ["car"]}.')
    ] = None,
    template: Annotated[
        list[str] | None,
        label_option("--template", "-t", help="Sentence to learn a class by, {} its name; repeatable."),
    ] = None,
    arch: Annotated[str | None, _key("arch", "Model")] = None,
    size: Annotated[int | None, _key("size", "Model")] = None,
    width: Annotated[int | None, _key("width", "Model", _BY_ARCH)] = None,
    start: Annotated[
        str | None, model_option("--from", metavar="MODEL", help="Start from the weights of a backbone trained before.")
    ] = None,
    images: Annotated[int | None, _key("images", "Effort")] = None,
    batch: Annotated[int | None, _key("batch", "Effort")] = None,
    rate: Annotated[float | None, _key("rate", "Effort")] = None,
    precision: Annotated[str | None, _key("precision", "Effort")] = None,
    seed: Annotated[int | None, _key("seed", "Effort")] = None,
    recipe: Annotated[
        str | None,
        effort_option(metavar="FILE.toml", help="These settings and all others; options override it."),
    ] = None,
    recipe_template: Annotated[
        bool, effort_option("--recipe-template", help="Print the recipe that these options make, and stop.")
    ] = False,
    device: Device = "auto",
    validation: Annotated[
        int | None,
        more_option(min=0, help="Held-out images to classify at the end; 0 for none.", show_default=str(VALIDATION)),
    ] = None,
    output: Annotated[
        str | None, output_option("--output", "-o", metavar="FOLDER", help="Where to write the backbone.")
    ] = None,
    resume: Annotated[bool, output_option("--resume", help="Continue from the last checkpoint.")] = False,
    force: Annotated[bool, output_option("--force", help="Replace what the folder holds.")] = False,
    every: Annotated[int, more_option(min=1, help="Images between checkpoints and sample grids.")] = 50_000,
    quiet: Quiet = False,
    verbose: Annotated[bool, more_option("--verbose", "-v", help="Name every image that is left out.")] = False,
) -> int:
    """Train a small backbone on a folder of class folders.

    \b
    Examples:
      bigain train photos/ -o mymodel
      bigain train photos/ -o mymodel --from mini --rate 3e-4
      bigain train --recipe-template --arch dit > recipe.toml
    """
    check_output(output, "mymodel")
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
    aside = _held_out(held_out)
    job = TrainingJob(
        chosen,
        data,
        Path(output),
        aside,
        read_synonyms(synonyms) if synonyms else {},
        template or TEMPLATES,
        device=device,
        every=every,
        validation=(VALIDATION if aside else 0) if validation is None else validation,
        start=start or "",
    )
    _request(job, resume, force)
    messages = Messages(quiet, verbose)
    warnings.showwarning = messages.warn
    return _run(job, resume, messages)


def _held_out(text: str) -> float | str:
    """Return a share of each class, or a path."""
    try:
        share = float(text)
    except ValueError:
        return text
    if not 0 <= share < 1:
        raise UsageError(f"--held-out {text}", "a share is from 0 up to, but not including, 1", "0.1 is usual.")
    return share


def _request(job: TrainingJob, resume: bool, force: bool) -> None:
    """Refuse contradictions, what is not there, and a folder that holds anything else."""
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
    _refuse_folder(job.folder, resume, force)


def _refuse_folder(folder: Path, resume: bool, force: bool) -> None:
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
    """Train, reporting how it goes; print the folder at the end."""
    from bigain_cli.training.trainer import train as events_of

    made = missing_folders(job.folder)
    try:
        _report(events_of(job, resume), messages)
    except KeyboardInterrupt:
        if checkpoint_of(job.folder).is_file():
            messages.note(f"{job.folder} holds the last checkpoint: repeat the command with --resume (without --force)")
        else:
            messages.note("there is no checkpoint yet: repeat the command to start again")
            remove_empty_folders(job.folder, made)
        raise
    typer.echo(job.folder)
    return 0


def _report(events: Iterator[Event], messages: Messages) -> None:
    """Write what happens to stderr: progress as a bar, everything else as lines."""
    stage = ""
    with ExitStack() as bars:
        for event in events:
            if isinstance(event, TrainingProgress | ValidationProgress):
                if event.stage != stage:
                    bars.close()
                    stage, meter = event.stage, ProgressBar(messages, event.stage, "images", before=event.images)
                    bars.enter_context(meter)
                meter.show(event.images, event.of, str(event))
                continue
            messages.note(str(event))
            for reason in event.skipped if isinstance(event, ImagesRead) else ():
                messages.detail(f"left out: {reason}")
