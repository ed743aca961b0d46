"""`bigain train`: its options, their checks without torch, and the run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Annotated, Any

import typer

from bigain_cli.cli import completion, options
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import shown_wait
from bigain_cli.cli.options import effort_option, input_option, label_option, model_option, more_option, output_option
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.errors import UsageError
from bigain_cli.training.job import (
    HELD_OUT,
    VALIDATION,
    Event,
    ImagesLoaded,
    TrainingDone,
    TrainingJob,
    TrainingProgress,
    TrainingResumed,
    ValidationProgress,
    read_synonyms,
)
from bigain_cli.training.output_folder import missing_folders, remove_empty_folders
from bigain_cli.training.recipe import ABOUT, WIDTHS, Recipe, given_values, load_recipe
from bigain_cli.training.resuming import resumed_job


def _recipe_option(name: str, option: Any, metavar: str, default: str | None = None) -> Any:
    """Return the option of a recipe's key; its default is the recipe's."""
    return option(help=f"{ABOUT[name]}.", metavar=metavar, show_default=default or str(getattr(Recipe, name)))


_BY_ARCH = ", ".join(f"{value} for {name}" for name, value in WIDTHS.items())
_DATA = "A folder with a folder of images per class, or safetensors with jpeg, offsets, labels and classes."


def train(
    context: typer.Context,
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help=_DATA, rich_help_panel="Input")] = None,
    held_out: Annotated[
        str, input_option(metavar="SHARE|PATH", help="Validation images: a share of each class, or other data.")
    ] = f"{HELD_OUT:g}",
    synonyms: Annotated[
        str | None, label_option(metavar="FILE", help='A JSON file of other names: {"automobile": ["car"]}.')
    ] = None,
    template: Annotated[
        list[str] | None,
        more_option("--template", "-t", metavar="TEXT", help='Prompt, as "a photo of a {}."; repeatable.'),
    ] = None,
    arch: Annotated[str | None, _recipe_option("arch", model_option, "NAME")] = None,
    size: Annotated[int | None, _recipe_option("size", model_option, "PIXELS")] = None,
    width: Annotated[int | None, _recipe_option("width", model_option, "N", _BY_ARCH)] = None,
    label_entry: Annotated[str | None, _recipe_option("label_entry", more_option, "early|late")] = None,
    start: Annotated[
        str | None,
        model_option(
            "--from", metavar="MODEL", help="Start from this model's weights.", autocompletion=completion.models
        ),
    ] = None,
    images: Annotated[int | None, _recipe_option("images", effort_option, "N")] = None,
    batch: Annotated[int | None, _recipe_option("batch", effort_option, "N")] = None,
    rate: Annotated[float | None, _recipe_option("rate", effort_option, "X")] = None,
    contrast_labels: Annotated[int | None, _recipe_option("contrast_labels", more_option, "K", "none")] = None,
    precision: Annotated[str | None, _recipe_option("precision", effort_option, "DTYPE")] = None,
    prediction: Annotated[str | None, _recipe_option("prediction", more_option, "NAME")] = None,
    seed: Annotated[int | None, _recipe_option("seed", effort_option, "N")] = None,
    recipe: Annotated[
        str | None,
        effort_option(metavar="FILE.toml", help="Read settings of the network and the training from a file."),
    ] = None,
    recipe_template: Annotated[
        bool, effort_option("--recipe-template", help="Print a recipe with these options, and exit.")
    ] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    validation: Annotated[
        int | None,
        more_option(min=0, metavar="N", help="Validation images to classify at the end.", show_default=str(VALIDATION)),
    ] = None,
    output: Annotated[
        str | None, output_option("--output", "-o", metavar="FOLDER", help="Where to write the backbone.")
    ] = None,
    resume: Annotated[bool, output_option("--resume", help="Continue -o FOLDER with its own settings.")] = False,
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
    options.check_named("--from", start, "mini")
    options.check_named("--synonyms", synonyms, "names.json")
    options.check_machine(device, "auto")
    given: dict[str, Any] = {"arch": arch, "size": size, "width": width, "images": images, "batch": batch}
    given |= {"rate": rate, "precision": precision, "prediction": prediction, "seed": seed}
    given |= {"label_entry": label_entry, "contrast_labels": contrast_labels}
    given = {key: value for key, value in given.items() if value is not None}
    if recipe_template:
        typer.echo(load_recipe(recipe, given).to_toml(), nl=False)
        return 0
    if output is None:
        raise UsageError("no output", "nowhere to write the backbone", "Add -o FOLDER.")
    asked: dict[str, Any] = {
        "images": data,
        "held_out": _share_or_path(held_out),
        "every": every,
        "device": device,
        "start": start,
    }
    asked |= {"templates": template, "validation": validation}
    asked |= {"synonyms": None if synonyms is None else read_synonyms(synonyms)}
    unasked = {"held_out", "every", "device"} - options.on_command_line(context)
    asked = {name: value for name, value in asked.items() if value is not None and name not in unasked}
    if resume and not force:
        job = resumed_job(output, given_values(recipe, given), asked)
    elif data is None:
        raise UsageError("no data", "there is nothing to train on", "Give a folder of class folders.")
    else:
        job = TrainingJob(load_recipe(recipe, given), folder=output, **asked)
    job.check(resume, force)  # answers without torch
    return _run(job, resume, force, Messages.start(quiet, verbose))


def _share_or_path(held_out: str) -> float | str:
    try:
        return float(held_out)
    except ValueError:
        return held_out


def _run(job: TrainingJob, resume: bool, force: bool, messages: Messages) -> int:
    """Train, showing progress; print the folder at the end."""
    with shown_wait("loading torch", messages):
        from bigain_cli.backbones.devices import choose_device
        from bigain_cli.training.trainer import train

    new_folders = missing_folders(job.path)
    machine = f"{choose_device(job.device)} in {job.recipe.precision}"
    try:
        with closing(train(job, resume, force)) as events:
            prompt = _report(_started(job, events, messages), machine, messages)
    except KeyboardInterrupt:
        if job.checkpoint.is_file():
            command = f"bigain train --resume -o {shlex.quote(str(job.path))}"
            messages.note(f"{job.path} holds the last checkpoint; continue with: {command}")
        else:
            messages.note(
                "there is no checkpoint yet: repeat the command to start again (--every N writes some sooner)"
            )
            remove_empty_folders(job.path, new_folders)
        raise
    typer.echo(job.path)
    verb = "classify IMAGE" if job.recipe.label_entry == "late" else f"generate {shlex.quote(prompt)}"
    messages.closing(f"try it: bigain {verb} -m {shlex.quote(str(job.path))}")
    return 0


def _started(job: TrainingJob, events: Iterator[Event], messages: Messages) -> Iterator[Event]:
    """Say on a terminal what is read until the first event."""
    with shown_wait(f"loading {job.start} and reading images" if job.start else "reading images", messages):
        first = next(events)
    yield first
    yield from events


def _report(events: Iterator[Event], machine: str, messages: Messages) -> str:
    """Show progress as a bar, and write all other events as lines, on stderr; return a prompt to try."""
    stage = prompt = ""
    before = 0  # images of a training that is continued
    with ExitStack() as bars:
        for event in events:
            if isinstance(event, TrainingProgress | ValidationProgress):
                if event.stage != stage:
                    bars.close()
                    left = event.of - (before if isinstance(event, TrainingProgress) else 0)
                    stage, plan = event.stage, f"{event.stage} on {left} images, {machine}"
                    progress = bars.enter_context(ProgressBar(messages, stage, "images", event.images, plan))
                progress.show(event.images, event.of, str(event))
                continue
            messages.note(str(event))
            before = event.images if isinstance(event, TrainingResumed) else before
            prompt = event.prompt if isinstance(event, TrainingDone) else prompt
            for reason in event.skipped if isinstance(event, ImagesLoaded) else ():
                messages.detail(f"skipped: {reason}")
    return prompt
