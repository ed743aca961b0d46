"""`bigain generate`: options in, images out. Knows no tensors."""

from __future__ import annotations

from typing import Annotated

import typer

from bigain_cli.cli.generate_request import GenerateRequest, request_again
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import (
    Compress,
    Device,
    Dtype,
    Kv,
    Merge,
    Model,
    Quiet,
    Verbose,
    check_machine,
    check_output,
    chosen_spec,
    effort_option,
    input_option,
    more_option,
    output_option,
)
from bigain_cli.errors import UsageError
from bigain_cli.generation.options import GenerationOptions, read_size
from bigain_cli.generation.prompts import read_prompts
from bigain_cli.registry import DEFAULT_MODEL, SAMPLERS

# What may stand beside --again; everything else is in the image.
BESIDE = {"again", "output", "force", "model", "device", "as_jsonl", "quiet", "verbose"}


def generate(
    context: typer.Context,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT...", help="What to generate; for DiT a class name."),
    ] = None,
    prompts_from: Annotated[
        str | None, input_option(metavar="FILE|-", help="Prompts from a file or stdin, one a line.")
    ] = None,
    count: Annotated[int, input_option("--count", "-n", help="Images per prompt; image i has seed --seed + i.")] = 1,
    seed: Annotated[int, input_option(help="Seed of the first image.")] = 0,
    negative: Annotated[str, input_option(help="What to move away from.")] = "",
    again: Annotated[
        str | None, input_option(metavar="IMAGE.png", help="Generate an image again by its own settings.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    dtype: Dtype = "auto",
    compress: Compress = None,
    merge: Merge = None,
    kv: Kv = None,
    steps: Annotated[int | None, effort_option(help="Steps from noise to image.", show_default="by sampler")] = None,
    guidance: Annotated[
        float | None,
        effort_option(help="Strength of the prompt; 1: none.", show_default="by model"),
    ] = None,
    sampler: Annotated[str | None, effort_option(help=f"{', '.join(SAMPLERS)}.", show_default="by model")] = None,
    batch: Annotated[
        int | None,
        more_option(
            help="Images at once, rounded down to 1, 2, 4 or a multiple of 8; it changes their last bits.",
            show_default="by device and model",
        ),
    ] = None,
    size: Annotated[str | None, output_option(metavar="WxH", help="In pixels.", show_default="by model")] = None,
    output: Annotated[
        str | None,
        output_option(
            "--output",
            "-o",
            metavar="PATH",
            help="A FILE.png, a folder, or - for PNG bytes on stdout.",
            show_default="this folder",
        ),
    ] = None,
    grid: Annotated[bool, output_option("--grid", help="One image of all, a row for each prompt.")] = False,
    force: Annotated[bool, output_option("--force", help="Replace existing files.")] = False,
    as_jsonl: Annotated[bool, output_option("--jsonl", help="Write a JSON line per image, not its path.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Generate images from prompts.

    \b
    Examples:
      bigain generate red blue -n 4 --grid -m colours -o colours.png
      bigain generate "a photo of a horse" --merge 0.5 -m sd1.5 -o horse.png
    """
    check_machine(device, dtype)
    check_output(output, "horse.png")
    if again is not None:
        given = _on_command_line(context)
        _check_beside(given)
        request = request_again(again, model if "model" in given else None, device, output, force, as_jsonl)
    else:
        spec = chosen_spec(compress, merge, kv)
        wish = GenerationOptions(
            sampler, steps, guidance, negative, None if size is None else read_size(size), seed, spec, batch
        )
        if count < 1:
            raise UsageError(f"-n {count}", "must be at least 1", "Write how many images of each prompt.")
        found = read_prompts(prompts or [], prompts_from)
        request = GenerateRequest(found, count, wish, model, device, dtype, output, grid, force, as_jsonl)
    request.check()
    messages = Messages.start(quiet, verbose)
    from bigain_cli.cli.generate_run import run_request

    return run_request(request, messages)


def _check_beside(given: set[str]) -> None:
    """Refuse flags that would contradict the image."""
    for name in sorted(given - BESIDE):
        what = "a prompt" if name == "prompts" else f"--{name.replace('_', '-')}"
        hint = "Beside it only -o, --force, -m, --device and --jsonl make sense."
        raise UsageError(f"--again with {what}", "the image says how it was generated", hint)


def _on_command_line(context: typer.Context) -> set[str]:
    """Name the parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
