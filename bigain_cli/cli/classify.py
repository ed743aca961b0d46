"""`bigain classify`: options in, rankings out. Knows no tensors."""

from __future__ import annotations

from typing import Annotated

import typer

from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.cli.classify_request import ClassifyRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import (
    Compress,
    Device,
    DryRun,
    Dtype,
    Kv,
    Merge,
    Model,
    Quiet,
    Verbose,
    check_output,
    chosen_format,
    chosen_spec,
    effort_option,
    input_option,
    label_option,
    more_option,
    output_option,
)
from bigain_cli.errors import UsageError
from bigain_cli.registry import DEFAULT_MODEL, OUTPUTS, SCHEDULES, SCORES

SUFFIXES = {suffix: name for name, entry in OUTPUTS.items() for suffix in entry.suffixes}


def classify(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Images, folders, globs; - is one image on stdin.", show_default=False),
    ] = None,
    recursive: Annotated[bool, input_option("--recursive", "-r", help="Look into folders within folders.")] = False,
    files_from: Annotated[
        str | None,
        input_option("--files-from", metavar="FILE|-", help="Read input paths from a file or stdin, one a line."),
    ] = None,
    null: Annotated[
        bool, more_option("--null", "-0", help="Paths of --files-from end with NUL, as find -print0 writes them.")
    ] = False,
    labels: Annotated[
        str | None,
        label_option(
            "--labels",
            "-l",
            help="A label file, a preset (bigain list labels), or a,b,c.",
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        label_option("--template", "-t", help='Prompt, as "a photo of a {}."; repeat to average.'),
    ] = None,
    reject: Annotated[
        bool, label_option("--reject", help="Answer 'none' when no label beats the empty prompt.")
    ] = False,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    dtype: Dtype = "auto",
    compress: Compress = None,
    merge: Merge = None,
    kv: Kv = None,
    confidence: Annotated[
        float,
        effort_option(help="How sure a race is when it drops a label, and the gap's interval."),
    ] = 0.95,
    draws: Annotated[int | None, effort_option(help="Most draws per label.", show_default="by model, schedule")] = None,
    budget: Annotated[int | None, effort_option(help="Most evaluations per image.")] = None,
    deadline: Annotated[
        float | None,
        effort_option(help="Most seconds per image; not exactly repeatable."),
    ] = None,
    schedule: Annotated[str, more_option(help=f"{', '.join(SCHEDULES)}.")] = "race",
    score: Annotated[str | None, more_option(help=f"{', '.join(SCORES)}.", show_default="by model")] = None,
    seed: Annotated[int, more_option(help="Seed of the draws.")] = 0,
    batch: Annotated[
        int | None,
        more_option(
            min=1,
            help="Most evaluations at once; rounded down to 1, 2, 4 or a multiple of 8.",
            show_default="by device and model",
        ),
    ] = None,
    output: Annotated[
        str | None,
        output_option("--output", "-o", metavar="FILE", help="Write records to a file; its suffix is the format."),
    ] = None,
    as_json: Annotated[bool, output_option("--json", help="Write one JSON array.")] = False,
    as_jsonl: Annotated[bool, output_option("--jsonl", help="Write one JSON line per image, at once.")] = False,
    as_csv: Annotated[bool, more_option("--csv", help="Write comma-separated columns.")] = False,
    as_tsv: Annotated[bool, more_option("--tsv", help="Write tab-separated columns.")] = False,
    top: Annotated[
        int | None, output_option(min=1, metavar="K", help="Labels per image.", show_default="5 in JSON, 1 in columns")
    ] = None,
    resume: Annotated[
        bool,
        output_option(
            "--resume", help="Continue an interrupted -o FILE.jsonl; failures stand until their lines are removed."
        ),
    ] = False,
    force: Annotated[bool, more_option("--force", help="Replace an existing -o FILE.")] = False,
    heatmap: Annotated[
        str | None,
        output_option(
            metavar="DIR",
            help="Plot where the evidence lies, a PNG for each image.",
        ),
    ] = None,
    watch: Annotated[bool, output_option("--watch", help="Show a live table of the labels on stderr.")] = False,
    timing: Annotated[bool, more_option("--timing", help="Add seconds to each record of --json or --jsonl.")] = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Rank labels for each image.

    \b
    Examples:
      bigain classify photo.jpg --model colours --labels red,green,blue
      bigain classify photos/ -r -l pets -m sd1.5 -o pets.jsonl --resume
    """
    check_output(output, "pets.jsonl")
    if labels is None:
        hint = "Give -l FILE, -l cat,dog or a preset (bigain list labels)."
        raise UsageError("no labels", "nothing to choose between", hint)
    flags = {"json": as_json, "jsonl": as_jsonl, "csv": as_csv, "tsv": as_tsv}
    request = ClassifyRequest(
        inputs=tuple(inputs or ()), files_from=files_from, null=null, recursive=recursive,
        labels=labels, templates=tuple(template or ()), reject=reject,
        model=model, device=device, dtype=dtype, compress=chosen_spec(compress, merge, kv),
        rules=StoppingRules(schedule, confidence, draws, budget, deadline, score), seed=seed, batch=batch,
        format=chosen_format(flags, output, SUFFIXES, "or a flag such as --jsonl"),
        output=None if output == "-" else output, top=top, resume=resume, force=force,
        heatmap=heatmap, watch=watch, timing=timing,
    )  # fmt: skip
    request.check(quiet)
    messages = Messages.start(quiet, verbose)
    if dry_run:
        from bigain_cli.cli import dry_run as plan

        return plan.dry_run(request)
    from bigain_cli.cli.classify_run import run_request

    return run_request(request, messages)
