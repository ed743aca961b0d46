"""`bigain generate`: options in, an `Order` out, and the order carried out. Knows no tensors."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from bigain_cli.cli.options import Device, Dtype, Kv, Merge, Model, Quiet, check_output
from bigain_cli.cli.order import Order, order_again
from bigain_cli.cli.prompts import read_prompts
from bigain_cli.cli.request import check_machine, chosen_spec
from bigain_cli.cli.talk import Talk
from bigain_cli.errors import UsageError
from bigain_cli.registry import DEFAULT_MODEL, SAMPLERS
from bigain_cli.sampler.wish import Wish, read_size

# What may be said beside --again; everything else stands in the picture.
BESIDE = {"again", "output", "force", "model", "device", "as_jsonl", "quiet", "verbose"}


def generate(
    context: typer.Context,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT...", help="What to draw; a class name for label-conditioned models."),
    ] = None,
    prompts_from: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Read prompts from a file or stdin, one a line.")
    ] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", help="Pictures of each prompt; picture i has the seed --seed + i.")
    ] = 1,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.png|FOLDER|-",
            help="Where to write; - is PNG bytes on stdout.",
            show_default="this folder",
        ),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="One picture of all, a row for each prompt.")] = False,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    dtype: Dtype = "auto",
    steps: Annotated[int | None, typer.Option(help="Steps from noise to picture.", show_default="by sampler")] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="How strongly to move towards the prompt; 1: not at all.", show_default="by model"),
    ] = None,
    sampler: Annotated[str | None, typer.Option(help=f"{', '.join(SAMPLERS)}.", show_default="the model's own")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Width and height in pixels.", show_default="the model's own")
    ] = None,
    negative: Annotated[str, typer.Option(help="What to move away from.", show_default="the empty prompt")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the first picture's noise.")] = 0,
    compress: Annotated[
        str | None,
        typer.Option(
            "--compress",
            "-c",
            help="Token compression, as lgtm:0.7 or iekvd:2@0.8:1.2 (see: bigain list operators), or none.",
            show_default="the model's own",
        ),
    ] = None,
    merge: Merge = None,
    kv: Kv = None,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Pictures at once, rounded down to 1, 2, 4 or a multiple of 8; it changes their last bits.",
            show_default="by device and model",
        ),
    ] = None,
    again: Annotated[
        str | None, typer.Option(metavar="IMAGE.png", help="Draw a picture again, by the settings inside it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    as_jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Write one JSON line per picture instead of its path.")
    ] = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say how things were understood.")] = False,
) -> int:
    """Draw pictures from prompts.

    \b
    Examples:
      bigain generate red blue -n 4 --grid -m colours -o colours.png
      bigain generate "a photo of a horse" --merge 0.5 -m sd1.5 -o horse.png
    """
    check_machine(device, dtype)
    check_output(output, "horse.png")
    if again is not None:
        _refuse_beside(context)
        chosen = model if "model" in _said(context) else None
        order = order_again(again, chosen, device, output, force, as_jsonl)
    else:
        spec = chosen_spec(compress, merge, kv)
        pixels = read_size(size) if size is not None else None
        wish = Wish(sampler, steps, guidance, negative, pixels, seed, spec, batch)
        if count < 1:
            raise UsageError(f"-n {count}", "must be at least 1", "Say how many pictures of each prompt.")
        found = read_prompts(prompts or [], prompts_from)
        order = Order(found, count, wish, model, device, dtype, output, grid, force, as_jsonl)
    talk = Talk(quiet, verbose)
    warnings.showwarning = talk.warn
    from bigain_cli.cli.generating import carry_out

    return carry_out(order, talk)


def _refuse_beside(context: typer.Context) -> None:
    """Refuse flags that would contradict the picture."""
    for name in sorted(_said(context) - BESIDE):
        what = "a prompt" if name == "prompts" else f"--{name.replace('_', '-')}"
        hint = "Beside it only -o, --force, -m, --device and --jsonl make sense."
        raise UsageError(f"--again with {what}", "the picture says how it was drawn", hint)


def _said(context: typer.Context) -> set[str]:
    """Name the parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
