"""`bigain classify`: options in, a `Request` out, and the request carried out. Knows no tensors."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from bigain_cli.cli.options import Device, DryRun, Dtype, Kv, Merge, Model, Quiet, check_output
from bigain_cli.cli.request import Request, check, chosen_format, chosen_spec, given_labels
from bigain_cli.cli.talk import Talk
from bigain_cli.registry import DEFAULT_MODEL, SCHEDULES, SCORES
from bigain_cli.rules import Rules


def classify(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Images, folders, globs; - is one image on stdin.", show_default=False),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            "-l",
            help="A label file (text, CSV, JSON), a preset (see: bigain list labels), or a list with commas.",
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            "--template", "-t", help='Prompt for a label, as "a photo of a {}."; repeat to average over several.'
        ),
    ] = None,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    dtype: Dtype = "auto",
    confidence: Annotated[
        float, typer.Option(help="How sure a race is before it drops a label, and how sure the interval of the gap is.")
    ] = 0.95,
    draws: Annotated[int | None, typer.Option(help="Most draws per label.", show_default="by model, schedule")] = None,
    budget: Annotated[int | None, typer.Option(help="Most evaluations per image.", show_default="no limit")] = None,
    deadline: Annotated[
        float | None,
        typer.Option(help="Most seconds per image; such runs cannot be repeated exactly.", show_default="no limit"),
    ] = None,
    schedule: Annotated[str, typer.Option(help=f"{', '.join(SCHEDULES)}.")] = "race",
    score: Annotated[str | None, typer.Option(help=f"{', '.join(SCORES)}.", show_default="the model's own")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    reject: Annotated[
        bool, typer.Option("--reject", help="Answer 'none' when no label beats the empty prompt.")
    ] = False,
    compress: Annotated[
        str | None,
        typer.Option(
            "--compress",
            "-c",
            help="Token compression, as lgtm:0.7 or lgtm:0.5+iekvd:2@0.9 (see: bigain list operators), or none.",
            show_default="the model's own",
        ),
    ] = None,
    merge: Merge = None,
    kv: Kv = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most evaluations at once; rounded down to 1, 2, 4 or a multiple of 8.",
            show_default="by device and model",
        ),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into folders within folders.")] = False,
    files_from: Annotated[
        str | None,
        typer.Option("--files-from", metavar="FILE|-", help="Read input paths from a file or stdin, one a line."),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths of --files-from end with NUL, as find -print0 writes them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON array.")] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Write one JSON line per image, at once.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write comma-separated columns.")] = False,
    as_tsv: Annotated[bool, typer.Option("--tsv", help="Write tab-separated columns.")] = False,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write records to a file; its suffix chooses the format."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Labels to show for each image.", show_default="5 in JSON, 1 in columns")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with an interrupted -o FILE.jsonl; failures stand until their lines are removed."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing -o FILE.")] = False,
    timing: Annotated[bool, typer.Option("--timing", help="Add seconds to each record of --json or --jsonl.")] = False,
    heatmap: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Draw where the evidence lies, a PNG for each image; takes one more evaluation a draw, not counted.",
            show_default="off",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show live standings on stderr.")] = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say how things were understood.")] = False,
) -> int:
    """Rank labels for each image.

    \b
    Examples:
      bigain classify photo.jpg --model colours --labels red,green,blue
      bigain classify photos/ -r -l pets -m sd1.5 -o pets.jsonl --resume
    """
    check_output(output, "pets.jsonl")
    request = Request(
        inputs=tuple(inputs or ()),
        files_from=files_from,
        null=null,
        recursive=recursive,
        labels=given_labels(labels),
        templates=tuple(template or ()),
        model=model,
        device=device,
        dtype=dtype,
        rules=Rules(schedule, confidence, draws, budget, deadline, score),
        seed=seed,
        reject=reject,
        compress=chosen_spec(compress, merge, kv),
        batch=batch,
        format=chosen_format({"json": as_json, "jsonl": as_jsonl, "csv": as_csv, "tsv": as_tsv}, output),
        output=None if output == "-" else output,
        top=top,
        resume=resume,
        force=force,
        timing=timing,
        heatmap=heatmap,
        watch=watch,
    )
    check(request, quiet)
    talk = Talk(quiet, verbose)
    warnings.showwarning = talk.warn
    if dry_run:
        from bigain_cli.cli.rehearsal import rehearse

        return rehearse(request)
    from bigain_cli.cli.running import carry_out

    return carry_out(request, talk)
