"""`bigain bench`: options in, one benchmark out, laid out for people, for machines or for a document."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from bigain_cli.backbones.model_locations import resolve
from bigain_cli.benchmark.results import as_markdown, as_text, check_options
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import (
    JSON,
    MARKDOWN,
    TEXT,
    Device,
    Dtype,
    Model,
    Quiet,
    check_machine,
    check_output,
    chosen_form,
    effort_option,
    model_option,
    more_option,
    output_option,
)
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.compress import Spec, parse
from bigain_cli.outputs.files import check_target, write_whole
from bigain_cli.outputs.sink import encode
from bigain_cli.registry import DEFAULT_MODEL
from bigain_cli.version import __version__

LAYOUTS = {TEXT: as_text, MARKDOWN: as_markdown, JSON: lambda found: json.dumps(found, ensure_ascii=False, indent=1)}


def bench(
    model: Model = DEFAULT_MODEL,
    compress: Annotated[
        list[str] | None,
        model_option(
            "--compress",
            "-c",
            metavar="SPEC",
            help="A compression to time; repeatable (bigain list operators).",
            show_default="none, which is always timed",
        ),
    ] = None,
    random_weights: Annotated[
        bool, model_option("--random-weights", help="Make weights up: real sizes without a download.")
    ] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    size: Annotated[
        int | None, effort_option(metavar="PIXELS", help="Side of the images.", show_default="by model")
    ] = None,
    labels: Annotated[int, effort_option(metavar="K", help="Labels that share a draw.")] = 8,
    draws: Annotated[
        int | None, effort_option(help="Draws per turn: K × draws evaluations.", show_default="full batches")
    ] = None,
    rounds: Annotated[int, effort_option(help="Rounds; every spec has one turn in each.")] = 5,
    batch: Annotated[
        int | None,
        more_option(
            help="Evaluations at once, rounded down to 1, 2, 4 or a multiple of 8.",
            show_default="by device and model",
        ),
    ] = None,
    prefix: Annotated[
        bool | None,
        more_option(
            "--prefix/--no-prefix",
            help="Compute the blocks before the first prompt once per draw, or for each label.",
            show_default="where possible",
        ),
    ] = None,
    compile: Annotated[bool, more_option("--compile", help="Time networks compiled by torch.compile.")] = False,
    as_json: Annotated[bool, output_option("--json", help="Write one JSON document.")] = False,
    markdown: Annotated[bool, output_option("--markdown", help="Write a Markdown table.")] = False,
    output: Annotated[
        str | None,
        output_option("--output", "-o", metavar="FILE", help="A .txt, .md or .json file.", show_default="stdout"),
    ] = None,
    force: Annotated[bool, output_option("--force", help="Replace an existing file.")] = False,
    quiet: Quiet = False,
) -> int:
    """Time compressions side by side.

    \b
    Examples:
      bigain bench -m colours --rounds 3
      bigain bench -m sd2 --random-weights --dtype bfloat16 -c lgtm:0.7 -c iekvd:2 --markdown
    """
    counts = {"labels": labels, "draws": draws, "batch": batch, "rounds": rounds}
    check_options(prefix=prefix, compile=compile, **counts)
    check_machine(device, dtype)
    specs = [parse(text) for text in compress or ()]
    check_output(output, "speed.md")
    output = None if output == "-" else output
    layout = LAYOUTS[chosen_form(as_json, markdown, output)]
    if output is not None:
        check_target(output, force)
    resolve(model)
    messages = Messages.start(quiet)
    options = {**counts, "prefix": prefix, "compile": compile}
    found = _found(messages, (model, device, dtype), random_weights, size, specs, options)
    data = encode(layout(found) + "\n")
    if output is None:
        typer.echo(data, nl=False)
    else:
        write_whole(output, data, force)
    return 0


def _found(
    messages: Messages,
    model: tuple[str, str, str],
    random: bool,
    size: int | None,
    specs: list[Spec],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Load or make the model, and time it; how long each stage took is part of the result."""
    began = time.perf_counter()
    from bigain_cli import bench, load_random
    from bigain_cli import load as load_real
    from bigain_cli.benchmark.machine import process_age

    if random:
        backbone, size = load_random(*model, size), None
    else:
        backbone = load_real(*model)
    loading = time.perf_counter() - began
    starting = {} if (lived := process_age()) is None else {"starting": round(lived - loading, 6)}
    messages.note(
        f"timing {', '.join(map(str, dict.fromkeys([Spec(), *specs])))} in turn, {model[0]} on {backbone.device}"
    )
    with ProgressBar(messages, "timing") as meter:
        found = bench(backbone, specs, size=size, step=meter.show, **options).to_dict()
    stages = {**starting, "loading": round(loading, 6), **found["seconds"]}
    messages.note(
        "took " + ", ".join(f"{seconds:.1f} s {stage.replace('_', ' ')}" for stage, seconds in stages.items())
    )
    return {"version": __version__, **found, "seconds": stages}
