"""`bigain train`: options in, a recipe and a job out; what happens is told on stderr, the result on stdout."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bigain_cli.cli.options import Device, Quiet, check_output
from bigain_cli.cli.talk import Talk
from bigain_cli.errors import UsageError
from bigain_cli.train.holdings import checkpoint_of, strange, trained
from bigain_cli.train.recipe import ARCHITECTURES, EXAM, PRECISIONS, SHARE, TEMPLATES, WIDTHS, Recipe

_R = Recipe


def train(
    folder: Annotated[
        str | None, typer.Argument(metavar="[FOLDER]", help="A folder with a folder of pictures for each class.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="BACKBONE", help="Folder to write the backbone to.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Instead of a folder: safetensors with jpeg, offsets, labels and classes."),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE|PATH",
            help="Pictures to measure accuracy on: a share of each class, or more data.",
            show_default=SHARE,
        ),
    ] = None,
    exam: Annotated[
        int | None,
        typer.Option(min=0, help="Held-out pictures to classify at the end; 0 for none.", show_default=str(EXAM)),
    ] = None,
    arch: Annotated[str, typer.Option(help=f"{', '.join(ARCHITECTURES)}.")] = _R.arch,
    size: Annotated[int, typer.Option(help="Pixels of a picture's side.")] = _R.size,
    patch: Annotated[int, typer.Option(help="Pixels of a token's side: 1, 2 or 4.")] = _R.patch,
    width: Annotated[
        int | None,
        typer.Option(
            help="Channels at the widest grid, or of the transformer.",
            show_default=", ".join(f"{value} for {name}" for name, value in WIDTHS.items()),
        ),
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Blocks of a transformer.", show_default=str(_R.depth))] = None,
    images: Annotated[int, typer.Option(help="Pictures to show, repetitions counted.")] = _R.images,
    batch: Annotated[int, typer.Option(help="Pictures in a step.")] = _R.batch,
    rate: Annotated[float, typer.Option(help="Highest learning rate; it ends in half a cosine.")] = _R.rate,
    warmup: Annotated[int, typer.Option(help="Pictures until the highest rate.")] = _R.warmup,
    decay: Annotated[float, typer.Option(help="Weight decay.")] = _R.decay,
    ema: Annotated[float, typer.Option(help="How much of the weights' average stays at a step.")] = _R.ema,
    drop: Annotated[float, typer.Option(help="Share of pictures shown without their label.")] = _R.drop,
    contrast: Annotated[
        float, typer.Option(help="Weight of telling the right label from a wrong one; 0: a plain diffusion model.")
    ] = _R.contrast,
    sharpness: Annotated[
        float | None, typer.Option(help="How sharply the two are compared.", show_default=f"{_R.sharpness:g}")
    ] = None,
    contrast_from: Annotated[
        float | None,
        typer.Option(
            help="Share of the training that goes by before the two are compared.",
            show_default=f"{_R.contrast_from:g}",
        ),
    ] = None,
    tilt: Annotated[
        float, typer.Option(help="Times are drawn as u^tilt: above 1 the clean end comes more often.")
    ] = _R.tilt,
    flip: Annotated[bool, typer.Option("--flip/--no-flip", help="Mirror half of the pictures.")] = _R.flip,
    precision: Annotated[str, typer.Option(help=f"{', '.join(PRECISIONS)}.")] = _R.precision,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = _R.seed,
    synonyms: Annotated[
        str | None, typer.Option(metavar="FILE", help='Other names of classes, as {"automobile": ["car"]}.')
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option("--template", "-t", help="Sentence to learn a class by, {} its name; repeatable."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="MODEL", help="Begin from the weights of a backbone that was trained before."),
    ] = None,
    device: Device = "auto",
    every: Annotated[int, typer.Option(min=1, help="Pictures between checkpoints and sample grids.")] = 50_000,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what the folder holds.")] = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name every picture that is left out.")] = False,
) -> int:
    """Train a small backbone on a folder of class folders.

    \b
    Examples:
      bigain train photos/ -o mymodel
      bigain train photos/ -o mymodel --from mini --rate 3e-4
      bigain train --data cifar10_train.safetensors --held-out cifar10_val.safetensors -o mini
    """
    check_output(output, "mymodel")
    if arch not in ARCHITECTURES:
        Recipe(arch=arch)
    aside = _held_out(held_out or SHARE)
    for wrong, what, why in (
        (depth is not None and arch != "dit", "--depth", "a U-Net has three levels, whatever is asked for"),
        (sharpness is not None and not contrast, "--sharpness", "nothing is compared without --contrast"),
        (contrast_from is not None and not contrast, "--contrast-from", "nothing is compared without --contrast"),
        (bool(template) and arch == "dit", "--template", "a transformer is told class numbers, not sentences"),
        (bool(exam) and aside == 0, "--exam", "no pictures are held out"),
    ):
        if wrong:
            raise UsageError(what, why, "Leave it out.")
    width = WIDTHS[arch] if width is None else width
    given: dict[str, Any] = {"depth": depth, "sharpness": sharpness, "contrast_from": contrast_from}
    recipe = Recipe(
        arch=arch, size=size, patch=patch, width=width, images=images, batch=batch,
        rate=rate, warmup=warmup, decay=decay, ema=ema, drop=drop, contrast=contrast,
        tilt=tilt, flip=flip, precision=precision, seed=seed,
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip
    source = _source(folder, data)
    target = _target(output, (folder, data, held_out), resume, force)
    talk = Talk(quiet, verbose)
    warnings.showwarning = talk.warn
    from bigain_cli.cli.training import Wish, carry_out

    asked = EXAM if exam is None else exam
    wish = Wish(source, target, recipe, aside, asked, synonyms, tuple(template or TEMPLATES), start, device, every)
    return carry_out(wish, resume, talk)


def _held_out(text: str) -> float | str:
    """Return a share of each class, or a path."""
    try:
        share = float(text)
    except ValueError:
        return text
    if not 0 <= share < 1:
        raise UsageError(f"--held-out {text}", "a share is from 0 up to, but not including, 1", "0.1 is usual.")
    return share


def _source(folder: str | None, data: str | None) -> str:
    if (folder is None) == (data is None):
        what = "no data" if folder is None else f"{folder} and --data {data}"
        raise UsageError(what, "one source of pictures is needed", "Give FOLDER, or --data FILE.")
    return folder or data or ""


def _target(output: str | None, sources: Sequence[str | None], resume: bool, force: bool) -> Path:
    """Return the folder to write, refusing one that holds anything else."""
    if output is None:
        raise UsageError("no output", "nowhere to write the backbone", "Add -o FOLDER.")
    target = Path(output)
    if resume and force:
        raise UsageError("--resume --force", "one keeps the training, the other begins anew", "Choose one.")
    if target.exists() and not target.is_dir():
        raise UsageError(output, "a file, not a folder", "Name a folder.")
    for source in sources:
        if source and Path(source).is_dir() and target.resolve().is_relative_to(Path(source).resolve()):
            raise UsageError(output, f"inside {source}, where it would pass for a class", "Name a folder elsewhere.")
    if resume:
        if not checkpoint_of(target).is_file():
            raise UsageError("--resume", f"no checkpoint in {output} to go on from", "Leave out --resume to begin.")
    elif target.is_dir() and trained(target):
        if not force:
            raise UsageError(output, "holds a backbone already", "--resume to go on, --force to begin anew.")
    elif target.is_dir() and (other := strange(target)):
        raise UsageError(output, f"holds other things ({other}, …)", "Name a new folder.")
    return target
