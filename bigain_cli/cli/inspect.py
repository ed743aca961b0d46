"""`bigain inspect`: what a compression does to one image, as numbers and as figures."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from bigain_cli.backbones.model_locations import resolve
from bigain_cli.cli.options import Device, Dtype, Model, check_output, effort_option, model_option, output_option
from bigain_cli.compress import parse
from bigain_cli.errors import UsageError
from bigain_cli.images import Source, find, read
from bigain_cli.inspection.figure import as_text, figure_name, save_figures
from bigain_cli.outputs.files import check_folder, check_new, make_folder
from bigain_cli.outputs.plotting import require_plotting
from bigain_cli.outputs.sink import encode
from bigain_cli.registry import DEFAULT_MODEL


def inspect(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image file.", show_default=False)],
    compress: Annotated[
        str, model_option("--compress", "-c", help="Token compression (see: bigain list operators).")
    ] = "lgtm:0.5",
    model: Model = DEFAULT_MODEL,
    times: Annotated[str, effort_option("--times", "-t", help="Timesteps to inspect; noisy ones are large.")] = (
        "100,500,900"
    ),
    device: Device = "auto",
    dtype: Dtype = "auto",
    seed: Annotated[int, effort_option(help="Seed of the noise.")] = 0,
    output: Annotated[
        str | None, output_option("--output", "-o", metavar="DIR", help="Save a PNG for each timestep in a folder.")
    ] = None,
    force: Annotated[bool, output_option("--force", help="Replace existing files of -o DIR.")] = False,
    as_json: Annotated[bool, output_option("--json", help="Write the numbers as one JSON document.")] = False,
) -> int:
    """Show what a compression does to an image.

    \b
    Examples:
      bigain inspect photo.jpg -c lgtm:0.5 -m sd1.5 -o looks
      bigain inspect photo.jpg -c lgtm:0.5+iekvd:2@0.9 -m path/to/folder -t 100,900 --json

    Each line is one operator at one block and one timestep: tokens before and after, tokens that keys are made from,
    groups of several tokens and the largest group, and the mean contrast (Laplacian) of the tokens others may join,
    of all that are kept, and of those that are merged away.
    """
    spec, timesteps, source = parse(compress), _timesteps(times), _source(image)
    check_output(output, "looks")
    if force and output is None:
        raise UsageError("--force", "replaces files, and no folder is named", "Add -o DIR.")
    if output is not None:
        require_plotting("--output")
        check_folder(output)
        check_new([os.path.join(output, figure_name(source.id, t)) for t in timesteps], force)
    resolve(model)
    pixels = read(source)
    from bigain_cli.backbones.loading import load
    from bigain_cli.inspection import inspector

    found = inspector.inspect(load(model, device, dtype), pixels, spec, timesteps, seed)
    document = {"id": source.id, "model": model, "seed": seed, **found.to_dict()}
    if output is not None:
        document["pictures"] = save_figures(make_folder(output), source.id, found)
    text = json.dumps(document, ensure_ascii=False, indent=1) if as_json else as_text(document)
    typer.echo(encode(text))
    return 0


def _timesteps(text: str) -> list[int]:
    """Read the timesteps."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise UsageError(f"--times {text}", "not whole numbers with commas between them", "Write -t 100,500,900.")
    return sorted({int(part) for part in parts})


def _source(image: str) -> Source:
    """Find the one image."""
    sources = list(find([image]))
    if len(sources) != 1:
        raise UsageError(image, f"{len(sources)} images; only one can be inspected", "Name one file.")
    return sources[0]
