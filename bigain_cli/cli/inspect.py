"""`bigain inspect`: its options, their checks without torch, and the run."""

from __future__ import annotations

import json
import os
import time
from typing import Annotated, Any

import typer

from bigain_cli.backbones.model_locations import resolve
from bigain_cli.cli import completion, options
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import load_model
from bigain_cli.cli.offline import is_offline
from bigain_cli.cli.options import effort_option, model_option, output_option
from bigain_cli.compress import Spec
from bigain_cli.errors import UsageError
from bigain_cli.images import Source, find, read
from bigain_cli.inspection.checks import inspected_spec
from bigain_cli.inspection.figure import as_text, figure_name, save_figures
from bigain_cli.outputs.output_format import encode
from bigain_cli.outputs.plotting import require_plotting
from bigain_cli.outputs.text import counted, spoken_time
from bigain_cli.outputs.whole_files import check_folder, check_new, make_folder
from bigain_cli.registry import DEFAULT_MODEL


def inspect(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image file or a URL.", show_default=False)],
    compress: Annotated[
        str,
        model_option(
            "--compress",
            "-c",
            metavar="SPEC",
            help="A compression (bigain list operators).",
            autocompletion=completion.specs,
        ),
    ] = "lgtm:0.5",
    model: options.Model = DEFAULT_MODEL,
    timesteps: Annotated[
        str, effort_option("--timesteps", "-t", metavar="T,…", help="Those to inspect, from 0 to 999 (pure noise).")
    ] = "100,500,900",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = None,
    seed: Annotated[int, effort_option(metavar="N", help="Random seed of the noise.")] = 0,
    output: Annotated[
        str | None, output_option("--output", "-o", metavar="DIR", help="Folder for a PNG of each timestep.")
    ] = None,
    force: options.Force = False,
    as_json: options.Json = False,
    wide: options.Wide = False,
    quiet: options.Quiet = False,
) -> int:
    """Show what a compression does to an image.

    \b
    Examples:
      bigain inspect photo.jpg -c lgtm:0.5 -m sd1.5 -o figures
      bigain inspect photo.jpg -c lgtm:0.5+iekvd:2@0.9 -t 100,900 --json

    Each line is one operator at one block and one timestep: tokens before and after, tokens that keys are made from,
    groups of several tokens and the largest group, and the mean contrast (Laplacian) of the tokens others may join,
    of all that are kept, and of those that are merged away.
    """
    options.check_machine(device, dtype)
    spec, chosen, source = inspected_spec(compress), _read_timesteps(timesteps), _find_image(image)
    _check_output(output, force, [figure_name(source.id, t) for t in chosen])
    options.check_wide(wide, options.JSON if as_json else options.TEXT)
    messages, began = Messages.start(quiet), time.monotonic()
    document = _run(source, (model, device, dtype), spec, chosen, seed, output, messages)
    typer.echo(encode(json.dumps(document, ensure_ascii=False, indent=1) if as_json else as_text(document, wide)))
    where = f" → {output}" if output is not None else ""
    steps = f"1 image at {counted(len(chosen), 'timestep')}"
    messages.closing(f"{steps} in {spoken_time(time.monotonic() - began)}{where}")
    return 0


def _read_timesteps(text: str) -> list[int]:
    """Return the timesteps of --timesteps, in order."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) <= 9 for part in parts):
        raise UsageError(f"--timesteps {text}", "not whole numbers with commas between them", "Write -t 100,500,900.")
    return sorted({int(part) for part in parts})


def _find_image(path: str) -> Source:
    """Return the image; refuse a folder of several."""
    sources = list(find([path], offline=is_offline()))
    if sources[0].error is not None and os.path.isdir(path):
        raise UsageError(path, sources[0].error.why, "Name one file.")
    if len(sources) != 1:
        raise UsageError(path, f"{len(sources)} images; only one can be inspected", "Name one file.")
    return sources[0]


def _check_output(output: str | None, force: bool, names: list[str]) -> None:
    """Refuse a folder that cannot be written to, and figures that are there already."""
    options.check_output(output, "figures")
    if output is not None:
        require_plotting("--output")
        check_folder(output)
        check_new([os.path.join(output, name) for name in names], force)
    elif force:
        raise UsageError("--force", "replaces files, and no folder is named", "Add -o DIR.")


def _run(
    source: Source,
    model: tuple[str, str, str],
    spec: Spec,
    timesteps: list[int],
    seed: int,
    output: str | None,
    messages: Messages,
) -> dict[str, Any]:
    """Inspect the image, save the figures, and return the numbers."""
    resolve(model[0])
    pixels = read(source)
    backbone = load_model(*model, messages)
    from bigain_cli.inspection.inspector import inspect

    inspection = inspect(backbone, pixels, spec, timesteps, seed)
    document = {"id": source.id, "model": model[0], "seed": seed, **inspection.to_dict()}
    if output is not None:
        document["pictures"] = save_figures(make_folder(output), source.id, inspection)
    return document
