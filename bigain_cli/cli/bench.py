"""`bigain bench`: its options, their checks without torch, and the run."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from bigain_cli.backbones.model_locations import resolve
from bigain_cli.benchmark.results import as_markdown, as_text, check_options, closing
from bigain_cli.cli import completion, options
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import load_model
from bigain_cli.cli.options import JSON, MARKDOWN, TEXT, effort_option, model_option, more_option, output_option
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.compress import Spec, parse
from bigain_cli.outputs.output_format import encode
from bigain_cli.outputs.whole_files import open_target
from bigain_cli.registry import DEFAULT_MODEL
from bigain_cli.version import __version__

FORMATS = {MARKDOWN: as_markdown, JSON: lambda found: json.dumps(found, ensure_ascii=False, indent=1)}


def bench(
    model: options.Model = DEFAULT_MODEL,
    compress: Annotated[
        list[str] | None,
        model_option(
            "--compress",
            "-c",
            metavar="SPEC",
            help="Time this beside none; repeatable (bigain list operators).",
            autocompletion=completion.specs,
        ),
    ] = None,
    random_weights: Annotated[
        bool, model_option("--random-weights", help="Use random weights of the real sizes; no download.")
    ] = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = None,
    size: Annotated[
        int | None, effort_option(metavar="PIXELS", help="Side of the images.", show_default="set by model")
    ] = None,
    labels: Annotated[int, effort_option(metavar="K", help="Number of labels.")] = 8,
    draws: Annotated[
        int | None,
        effort_option(metavar="N", help="Noise draws per round and spec.", show_default="full batches"),
    ] = None,
    rounds: Annotated[int, effort_option(metavar="N", help="Rounds; each times every spec once.")] = 5,
    batch: options.Batch = None,
    prefix: Annotated[
        bool | None,
        more_option(
            "--prefix/--no-prefix",
            help="Compute the blocks before the first prompt once per draw, or for each label.",
            show_default="where possible",
        ),
    ] = None,
    compile: Annotated[bool, more_option("--compile", help="Time networks compiled by torch.compile.")] = False,
    as_json: options.Json = False,
    as_markdown: options.Markdown = False,
    output: Annotated[
        str | None,
        output_option("--output", "-o", metavar="FILE", help="A .txt, .md or .json file.", show_default="stdout"),
    ] = None,
    wide: options.Wide = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> int:
    """Time compressions side by side.

    \b
    Examples:
      bigain bench -m colours --rounds 3
      bigain bench -m sd2 --random-weights -c lgtm:0.7 -c iekvd:2 -o speed.md
    """
    counts = {"labels": labels, "draws": draws, "batch": batch, "rounds": rounds}
    check_options(prefix=prefix, compile=compile, **counts)
    options.check_machine(device, dtype)
    specs = [parse(text) for text in compress or ()]
    options.check_output(output, "speed.md")
    output = None if output == "-" else output
    formats = {JSON: as_json, MARKDOWN: as_markdown}
    chosen = options.chosen_format(formats, output, options.SUMMARY_SUFFIXES, "--json or --markdown")
    options.check_wide(wide, chosen)
    settings = {**counts, "size": size, "prefix": prefix, "compile": compile}
    messages = Messages.start(quiet)
    with nullcontext() if output is None else open_target(output, force) as stream:
        found = _run(messages, (model, device, dtype), random_weights, specs, settings)
        text = encode((as_text(found, wide or stream is not None) if chosen == TEXT else FORMATS[chosen](found)) + "\n")
        if stream is None:
            typer.echo(text, nl=False)
        else:
            stream.write(text)
    messages.closing(closing(found) + (f" → {output}" if output is not None else ""))
    return 0


def _run(
    messages: Messages, model: tuple[str, str, str], random_weights: bool, specs: list[Spec], settings: dict[str, Any]
) -> dict[str, Any]:
    """Load the model, time it, and return the results with the seconds of each stage."""
    resolve(model[0])
    began = time.perf_counter()
    from bigain_cli.backbones.base import machine_of
    from bigain_cli.backbones.random_weights import load_random
    from bigain_cli.benchmark.benchmark import bench
    from bigain_cli.benchmark.machine import process_age

    if random_weights:
        backbone = load_random(*model, settings["size"])
        settings = {**settings, "size": None}
    else:
        backbone = load_model(*model, messages)
    loading = time.perf_counter() - began
    starting = {} if (lived := process_age()) is None else {"starting": round(lived - loading, 6)}
    names = ", ".join(map(str, dict.fromkeys([Spec(), *specs])))
    messages.note(f"timing {names} in turn, {model[0]} on {machine_of(backbone)}")
    with ProgressBar(messages, "timing", "steps") as progress:
        found = bench(backbone, specs, step=progress.show, **settings).to_dict()
    stages = {**starting, "loading": round(loading, 6), **found["seconds"]}
    return {"version": __version__, **found, "seconds": stages}
