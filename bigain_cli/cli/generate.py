"""`bigain generate`: its options. Knows no tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from bigain_cli.cli import completion, options
from bigain_cli.cli.generate_request import GenerateRequest, request_again
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import effort_option, input_option, more_option, output_option
from bigain_cli.errors import UsageError
from bigain_cli.generation.options import GenerationOptions, check_images, read_size
from bigain_cli.generation.prompts import read_prompts
from bigain_cli.generation.samplers import SAMPLERS
from bigain_cli.generation.zoom import as_zoom
from bigain_cli.registry import DEFAULT_MODEL

# What may be given with --again; everything else is in the image.
WITH_AGAIN = {"again", "output", "force", "model", "device", "threads", "no_cache", "as_jsonl", "quiet", "verbose"}


def generate(
    context: typer.Context,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT...", help="What to generate; for DiT a class name."),
    ] = None,
    prompts_from: Annotated[
        str | None, input_option(metavar="FILE|-", help="Prompts from a file or stdin, one per line.")
    ] = None,
    count: Annotated[int, input_option("--count", "-n", metavar="N", help="Images per prompt.")] = 1,
    seed: Annotated[int, input_option(metavar="N", help="Random seed of the first image; image i has N + i.")] = 0,
    negative: Annotated[str, input_option(metavar="TEXT", help="What the image should not show.")] = "",
    again: Annotated[
        str | None, input_option(metavar="FILE.png", help="Generate an image again by its own settings.")
    ] = None,
    model: options.Model = DEFAULT_MODEL,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = None,
    no_cache: options.NoCache = False,
    compress: options.Compress = None,
    merge: options.Merge = None,
    kv: options.Kv = None,
    steps: Annotated[
        int | None, effort_option(metavar="N", help="Sampling steps.", show_default="set by sampler")
    ] = None,
    guidance: Annotated[
        float | None,
        effort_option(metavar="W", help="Guidance scale; 1: no guidance.", show_default="set by model"),
    ] = None,
    sampler: Annotated[
        str | None,
        effort_option(
            metavar="NAME",
            help=f"{', '.join(SAMPLERS)}.",
            show_default="set by model",
            autocompletion=completion.samplers,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        more_option(
            metavar="N",
            help="Images per batch; rounded down to 1, 2, 4 or a multiple of 8. It changes their last bits.",
            show_default="set by device and model",
        ),
    ] = None,
    size: Annotated[
        str | None, output_option(metavar="WxH", help="Image size in pixels.", show_default="set by model")
    ] = None,
    output: Annotated[
        str | None,
        output_option(
            "--output",
            "-o",
            metavar="PATH",
            help="A .png file, a folder, or - for stdout.",
            show_default="this folder",
        ),
    ] = None,
    grid: Annotated[bool, output_option("--grid", help="Arrange all images in one, with captions.")] = False,
    zoom: Annotated[
        str | None,
        output_option(
            metavar="N", help="Enlarge images N times, for example 4 or 4:lanczos.", show_default="small ones in a grid"
        ),
    ] = None,
    force: options.Force = False,
    as_jsonl: Annotated[
        bool, output_option("--jsonl", help="Print a JSON line per image instead of its path.")
    ] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Generate images from prompts.

    \b
    Examples:
      bigain generate red blue -n 4 --grid -m colours -o colours.png
      bigain generate "a photo of a horse" -c lgtm:0.5 -m sd1.5 -o horse.png
    """
    options.check_machine(device, dtype)
    options.check_output(output, "horse.png")
    if again is not None:
        given = options.on_command_line(context)
        _check_with_again(given)
        request = request_again(again, model if "model" in given else None, device, output, force, as_jsonl)
    else:
        spec = options.chosen_spec(compress, merge, kv)
        pixels = None if size is None else read_size(size)
        generation = GenerationOptions(sampler, steps, guidance, negative, pixels, seed, spec, batch)
        found = read_prompts(prompts or [], prompts_from)
        check_images(len(found), count)
        factor = None if zoom is None else as_zoom(zoom)
        request = GenerateRequest(
            found, count, generation, model, device, dtype, output, grid, factor, force, as_jsonl
        )  # fmt: skip
    request = replace(request, cache=not no_cache)
    request.check()
    messages = Messages.start(quiet, verbose)
    from bigain_cli.cli.generate_run import run_request

    return run_request(request, messages)


def _check_with_again(given: set[str]) -> None:
    """Refuse options that would contradict the image's own settings."""
    for name in sorted(given - WITH_AGAIN):
        what = "a prompt" if name == "prompts" else f"--{name.replace('_', '-')}"
        hint = "Only -o, --force, -m, --device, --threads, --no-cache, --jsonl, -q and -v go with it."
        raise UsageError(f"--again with {what}", "the image says how it was generated", hint)
