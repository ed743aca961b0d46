"""`bigain evaluate`: options in, an `Inquiry` out, and the inquiry carried out. Knows no tensors."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from bigain_cli.cli.inquiry import PAGES, Inquiry, check
from bigain_cli.cli.options import Device, DryRun, Dtype, Model, Quiet, check_output, chosen_form
from bigain_cli.cli.talk import Talk
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.drawing import Drawing
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
            help="A compression to compare, as none or lgtm:0.7; lgtm:0.7,none is a ladder: all labels by the first, "
            "the finalists by the second. Repeatable.",
            show_default="none and the model's own",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="What differences are taken to.", show_default="the first"),
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
        int | None,
        typer.Option(min=0, help="Pictures, chosen by the seed; 0 with --generate only.", show_default="all"),
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(min=1, help="Pictures of each class, chosen by the seed.", show_default="all")
    ] = None,
    confidence: Annotated[float, typer.Option(help="How sure a race is before it drops a label.")] = 0.95,
    draws: Annotated[int | None, typer.Option(help="Most draws per label.", show_default="by model, schedule")] = None,
    budget: Annotated[int | None, typer.Option(help="Most evaluations per image.", show_default="no limit")] = None,
    schedule: Annotated[str, typer.Option(help=f"{', '.join(SCHEDULES)}.")] = "race",
    score: Annotated[str | None, typer.Option(help=f"{', '.join(SCORES)}.", show_default="the model's own")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws and of the choice of pictures.")] = 0,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Most evaluations at once.", show_default="by device and model")
    ] = None,
    records: Annotated[
        str | None,
        typer.Option(metavar="FILE.jsonl", help="Keep a record of each picture and spec, as soon as it is there."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the records of an interrupted run; summary and figure are written anew."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON document, with everything in it.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Write Markdown tables.")] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the summary to a .txt, .md or .json file, or a .html report."
        ),
    ] = None,
    figure: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Draw accuracy against cost: .png or .svg; without a suffix, both."),
    ] = None,
    generate: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Draw N pictures under each spec, too, and compare them with the dataset's.",
            show_default="none",
        ),
    ] = None,
    feature: Annotated[
        str | None,
        typer.Option(help=f"What looks at pictures: {', '.join(FEATURES)}.", show_default=DEFAULT_FEATURE),
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="For --generate, as for generate.")] = None,
    steps: Annotated[int | None, typer.Option(help="For --generate, as for generate.")] = None,
    guidance: Annotated[float | None, typer.Option(help="For --generate, as for generate.")] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Keep there what --generate draws, with a grid; go on with what is there."),
    ] = None,
    confusion: Annotated[bool, typer.Option("--confusion", help="Add who is taken for whom.")] = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch the dataset if it is not there.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say how things were understood.")] = False,
) -> int:
    """Compare compressions on labelled pictures: accuracy, cost, and paired differences.

    \b
    Examples:
      bigain evaluate photos/ -c none -c lgtm:0.7 --limit 200 --records photos.jsonl
      bigain evaluate pets:data --download -m sd2 -c none -c lgtm:0.7,none --json
    """
    check_output(output, "summary.md")
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
        drawing=_drawing(generate, feature, sampler, steps, guidance, keep, force),
    )
    check(inquiry)
    talk = Talk(quiet, verbose)
    warnings.showwarning = talk.warn
    from bigain_cli.cli.evaluating import carry_out, rehearse

    return rehearse(inquiry, talk) if dry_run else carry_out(inquiry, talk)


def _drawing(
    count: int | None,
    feature: str | None,
    sampler: str | None,
    steps: int | None,
    guidance: float | None,
    keep: str | None,
    force: bool,
) -> Drawing | None:
    """Return what is to be drawn; refuse options that nothing would come of."""
    if count is not None:
        return Drawing(count, feature or DEFAULT_FEATURE, sampler, steps, guidance, keep, force)
    given = {"feature": feature, "sampler": sampler, "steps": steps, "guidance": guidance, "keep": keep}
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"--{name}", "nothing is drawn without --generate", "Add --generate N, or leave it out.")
    return None
