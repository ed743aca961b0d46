"""`bigain evaluate`: its options. Knows no tensors."""

from __future__ import annotations

from typing import Annotated

import typer

from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.cli.evaluate_request import PAGES, EvaluateRequest, check, generated_images
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import (
    Device,
    Dtype,
    Model,
    Quiet,
    Verbose,
    check_output,
    chosen_form,
    effort_option,
    input_option,
    label_option,
    model_option,
    more_option,
    output_option,
)
from bigain_cli.registry import DEFAULT_FEATURE, DEFAULT_MODEL, FEATURES, SCHEDULES, SCORES


def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="A folder of class folders, a .safetensors file, or KIND:DIR (bigain list datasets).",
            show_default=False,
        ),
    ],
    compress: Annotated[
        list[str] | None,
        model_option(
            "--compress",
            "-c",
            help="A compression, as none or lgtm:0.7; repeatable.",
            show_default="none and the model's own",
        ),
    ] = None,
    against: Annotated[
        str | None, model_option(metavar="SPEC", help="Baseline of the differences.", show_default="the first")
    ] = None,
    labels: Annotated[
        str | None,
        label_option("--labels", "-l", help="Labels with prompts, as for classify.", show_default="the dataset's own"),
    ] = None,
    template: Annotated[
        list[str] | None, more_option("--template", "-t", help="Prompt for a label; repeatable.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    dtype: Dtype = "auto",
    limit: Annotated[
        int | None, input_option(min=0, help="Images, by the seed; 0: generate only.", show_default="all")
    ] = None,
    per_class: Annotated[int | None, input_option(min=1, help="Images of each class.", show_default="all")] = None,
    confidence: Annotated[float, more_option(help="How sure a race is before it drops a label.")] = 0.95,
    draws: Annotated[int | None, effort_option(help="Most draws per label.", show_default="by model, schedule")] = None,
    budget: Annotated[int | None, effort_option(help="Most evaluations per image.")] = None,
    schedule: Annotated[str, more_option(help=f"{', '.join(SCHEDULES)}.")] = "race",
    score: Annotated[str | None, more_option(help=f"{', '.join(SCORES)}.", show_default="by model")] = None,
    seed: Annotated[int, more_option(help="Seed of the draws and of the choice of images.")] = 0,
    batch: Annotated[
        int | None, more_option(min=1, help="Most evaluations at once.", show_default="by device and model")
    ] = None,
    records: Annotated[
        str | None, output_option(metavar="FILE.jsonl", help="Keep a record of each image and spec, at once.")
    ] = None,
    resume: Annotated[bool, output_option("--resume", help="Continue the records of an interrupted run.")] = False,
    as_json: Annotated[bool, output_option("--json", help="Write one JSON document.")] = False,
    as_markdown: Annotated[bool, more_option("--markdown", help="Write Markdown tables.")] = False,
    output: Annotated[
        str | None,
        output_option("--output", "-o", metavar="FILE", help="A .txt, .md or .json file, or a .html report."),
    ] = None,
    figure: Annotated[
        str | None, output_option(metavar="FILE", help="Plot accuracy against cost, .png or .svg.")
    ] = None,
    generate: Annotated[
        int | None,
        effort_option(metavar="N", help="Generate and compare N images per spec, too."),
    ] = None,
    feature: Annotated[
        str | None, more_option(help=f"For --generate: {', '.join(FEATURES)}.", show_default=DEFAULT_FEATURE)
    ] = None,
    sampler: Annotated[str | None, more_option(help="For --generate, as for generate.")] = None,
    steps: Annotated[int | None, more_option(help="For --generate, as for generate.")] = None,
    guidance: Annotated[float | None, more_option(help="For --generate, as for generate.")] = None,
    keep: Annotated[
        str | None, output_option(metavar="FOLDER", help="Keep generated images there, to continue with.")
    ] = None,
    confusion: Annotated[bool, output_option("--confusion", help="Add the confusion matrix.")] = False,
    download: Annotated[bool, input_option("--download", help="Fetch the dataset if it is not there.")] = False,
    force: Annotated[bool, output_option("--force", help="Replace existing files.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Compare compressions on labelled images: accuracy, cost, and paired differences.

    \b
    Examples:
      bigain evaluate photos/ -c none -c lgtm:0.7 --limit 200 --records photos.jsonl
      bigain evaluate pets:data --download -m sd2 -c none -c lgtm:0.7 --json
    """
    check_output(output, "summary.md")
    options = {"feature": feature, "sampler": sampler, "steps": steps, "guidance": guidance, "keep": keep}
    request = EvaluateRequest(
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
        rules=StoppingRules(schedule, confidence, draws, budget, None, score),
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
    check(request)
    messages = Messages.start(quiet, verbose)
    from bigain_cli.cli.evaluate_run import run_request

    return run_request(request, messages)
