"""`bigain inspect`: what a compression does to one image, as numbers and as pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, Any

import typer

from bigain_cli.cli.options import Device, Dtype, Model, check_output
from bigain_cli.compress import parse
from bigain_cli.errors import UsageError
from bigain_cli.images import Source, find, read
from bigain_cli.models import resolve
from bigain_cli.outputs.files import check_new
from bigain_cli.outputs.folder import check_folder, make_folder, name_of, save
from bigain_cli.outputs.plotting import png_of, require_plotting
from bigain_cli.outputs.sink import encode
from bigain_cli.registry import DEFAULT_MODEL

COLUMNS = ("t", "operator", "grid", "tokens", "keys", "groups", "largest", "laplacian", "site")


def inspect(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image file.", show_default=False)],
    compress: Annotated[
        str, typer.Option("--compress", "-c", help="Token compression (see: bigain list operators).")
    ] = "lgtm:0.5",
    model: Model = DEFAULT_MODEL,
    times: Annotated[str, typer.Option("--times", "-t", help="Times to look at, noisy ones are large.")] = (
        "100,500,900"
    ),
    device: Device = "auto",
    dtype: Dtype = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="Draw a PNG for each time into a folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files of -o DIR.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the numbers as one JSON document.")] = False,
) -> int:
    """Show what a compression does to an image.

    \b
    Examples:
      bigain inspect photo.jpg -c lgtm:0.5 -m sd1.5 -o looks
      bigain inspect photo.jpg -c lgtm:0.5+iekvd:2@0.9 -m path/to/folder -t 100,900 --json

    A line tells of one operator at one block and one time: tokens before and after, tokens that keys are made from,
    groups of several tokens and the largest group, and the mean contrast (Laplacian) of the tokens others may join,
    of all that stay, and of those that leave.
    """
    spec, moments, source = parse(compress), _moments(times), _source(image)
    _check_drawing(output, force, [_name(source.id, t) for t in moments])
    resolve(model)
    picture = read(source)
    from bigain_cli.backbones.loading import load
    from bigain_cli.inspection import inspect as look

    found = look(load(model, device, dtype), picture, spec, moments, seed)
    drawn = _draw(make_folder(output), source.id, found) if output is not None else {}
    document = {"id": source.id, "model": model, "seed": seed, **found.to_dict()}
    if drawn:
        document["pictures"] = drawn
    text = json.dumps(document, ensure_ascii=False, indent=1) if as_json else _table(document)
    typer.echo(encode(text))
    return 0


def _check_drawing(output: str | None, force: bool, names: Sequence[str]) -> None:
    """Refuse pictures that cannot or should not be written."""
    check_output(output, "looks")
    if force and output is None:
        raise UsageError("--force", "replaces files, and no folder is named", "Add -o DIR.")
    if output is not None:
        require_plotting("--output")
        check_folder(output)
        check_new([os.path.join(output, name) for name in names], force)


def _name(id: str, t: int) -> str:
    return name_of(id, f"-t{t}.png")


def _moments(text: str) -> list[int]:
    """Read the times."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise UsageError(f"--times {text}", "not whole numbers with commas between them", "Write -t 100,500,900.")
    return sorted({int(part) for part in parts})


def _source(image: str) -> Source:
    """Find the one image."""
    sources = list(find([image]))
    if len(sources) != 1:
        raise UsageError(image, f"{len(sources)} images; one is looked at", "Name one file.")
    return sources[0]


def _draw(folder: Any, id: str, found: Any) -> dict[str, str]:
    """Save a picture for each time, and return where."""
    from bigain_cli.outputs.looks import figure_of

    drawn = {}
    for t, looks in groupby(found.looks, key=lambda look: look.t):
        data = png_of(figure_of(found.picture, list(looks), id.rpartition("/")[2] or id))
        drawn[str(t)] = str(save(folder, _name(id, t), data))
    return drawn


def _table(document: dict[str, Any]) -> str:
    """Lay the numbers out in columns."""
    rows = [COLUMNS, *(_cells(look) for look in document["looks"])]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    about = document["compression"]
    lines.append(f"{about['compress']}: {about['saved']:.1%} of a pass saved")
    return "\n".join([*lines, *document.get("pictures", {}).values()])


def _cells(look: dict[str, Any]) -> tuple[str, ...]:
    scores = look["laplacian"]
    means = " / ".join("-" if scores[name] is None else f"{scores[name]:.3g}" for name in ("anchors", "stay", "leave"))
    more = f" (+{len(look['serves']) - 1})" if len(look["serves"]) > 1 else ""
    grid, tokens = "x".join(map(str, look["grid"])), f"{look['tokens']} -> {look['queries']}"
    counts = (str(look[name]) for name in ("keys", "groups", "largest"))
    return str(look["t"]), look["operator"], grid, tokens, *counts, means, look["site"] + more
