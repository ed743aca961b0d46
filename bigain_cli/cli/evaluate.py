"""`bigain evaluate`: its options. Knows no tensors."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from bigain_cli.cli.inquiry import PAGES, Inquiry, check, generated_images
from bigain_cli.cli.options import Device, Dtype, Model, Quiet, check_output, chosen_form
from bigain_cli.cli.talk import Talk
from bigain_cli.registry import DATASETS, DEFAULT_FEATURE, DEFAULT_MODEL, FEATURES, SCHEDULES, SCORES
from bigain_cli.rules import Rules


def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help=f"A folder of class folders, a .safetensors file, or KIND:DIR with KIND one of {', '.join(DATASETS)}.",
            show_default=False,
        ),
    ],
    compress: Annotated[
        list[str] | None,
        typer.Option(
            "--compress",
            "-c",
            help="A compression, as none or lgtm:0.7; repeatable.",
            show_default="none, the model's own",
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Baseline of the differences.", show_default="the first")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", "-l", help="Labels with prompts, as for classify.", show_default="the dataset's own"),
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option("--template", "-t", help="Prompt for a label; repeatable.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    dtype: Dtype = "auto",
    limit: Annotated[
        int | None, typer.Option(min=0, help="Images, chosen by the seed; 0 to generate only.", show_default="all")
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(min=1, help="Images of each class, chosen by the seed.", show_default="all")
    ] = None,
    confidence: Annotated[float, typer.Option(help="How sure a race is before it drops a label.")] = 0.95,
    draws: Annotated[int | None, typer.Option(help="Most draws per label.", show_default="by model, schedule")] = None,
    budget: Annotated[int | None, typer.Option(help="Most evaluations per image.", show_default="no limit")] = None,
    schedule: Annotated[str, typer.Option(help=f"{', '.join(SCHEDULES)}.")] = "race",
    score: Annotated[str | None, typer.Option(help=f"{', '.join(SCORES)}.", show_default="the model's own")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws and of the choice of images.")] = 0,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Most evaluations at once.", show_default="by device and model")
    ] = None,
    records: Annotated[
        str | None, typer.Option(metavar="FILE.jsonl", help="Keep a record of each image and spec, at once.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the records of an interrupted run; write the rest anew.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON document, with everything in it.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Write Markdown tables.")] = False,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Summary: .txt, .md or .json, or a .html report."),
    ] = None,
    figure: Annotated[
        str | None, typer.Option(metavar="FILE", help="Plot accuracy against cost: .png, .svg; no suffix: both.")
    ] = None,
    generate: Annotated[
        int | None,
        typer.Option(metavar="N", help="Generate N images per spec, too, and compare them with the dataset's."),
    ] = None,
    feature: Annotated[
        str | None, typer.Option(help=f"For --generate: {', '.join(FEATURES)}.", show_default=DEFAULT_FEATURE)
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="For --generate, as for generate.")] = None,
    steps: Annotated[int | None, typer.Option(help="For --generate, as for generate.")] = None,
    guidance: Annotated[float | None, typer.Option(help="For --generate, as for generate.")] = None,
    keep: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Keep generated images there; continue with what is there.")
    ] = None,
    confusion: Annotated[bool, typer.Option("--confusion", help="Add the confusion matrix.")] = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch the dataset if it is not there.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say how things were understood.")] = False,
) -> int:
    """Compare compressions on labelled images: accuracy, cost, and paired differences.

    \b
    Examples:
      bigain evaluate photos/ -c none -c lgtm:0.7 --limit 200 --records photos.jsonl
      bigain evaluate pets:data --download -m sd2 -c none -c lgtm:0.7 --json
    """
    check_output(output, "summary.md")
    options = {"feature": feature, "sampler": sampler, "steps": steps, "guidance": guidance, "keep": keep}
    inquiry = Inquiry(
        dataset=dataset,
        specs=tuple(compress or ()),
        against=against,
        labels=labels,
        templates=tuple(template or ()),
        model=model,
        device=device,
        dtype=dtype,
        limit=limit,
        per_class=per_class,
        rules=Rules(schedule, confidence, draws, budget, None, score),
        seed=seed,
        batch=batch,
        records=records,
        resume=resume,
        form=chosen_form(as_json, as_markdown, output, PAGES),
        output=None if output == "-" else output,
        figure=figure,
        confusion=confusion,
        download=download,
        force=force,
        generate=generated_images(generate, force, options),
    )
    check(inquiry)
    talk = Talk(quiet, verbose)
    warnings.showwarning = talk.warn
    from bigain_cli.cli.evaluating import carry_out

    return carry_out(inquiry, talk)
