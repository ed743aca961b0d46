"""`bigain evaluate`: its options. Knows no tensors."""

from __future__ import annotations

from typing import Annotated

import typer

from bigain_cli.classification.stopping import StoppingRules, read_times
from bigain_cli.cli import completion, options, sharding
from bigain_cli.cli.evaluate_request import SUFFIXES, EvaluateRequest, generated_images
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import effort_option, input_option, label_option, model_option, more_option, output_option
from bigain_cli.cli.profile_option import ProfileFile, tuned
from bigain_cli.registry import DEFAULT_ERROR, DEFAULT_FEATURE, DEFAULT_MODEL, FEATURES


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
            metavar="SPEC",
            help="A compression; repeatable (bigain list operators).",
            show_default="none and the model's own",
            autocompletion=completion.specs,
        ),
    ] = None,
    against: Annotated[
        str | None,
        model_option(
            metavar="SPEC",
            help="Compare all with this one.",
            show_default="the first",
            autocompletion=completion.specs,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        label_option(
            "--labels",
            "-l",
            metavar="LABELS",
            help="As for classify.",
            show_default="the dataset's own",
            autocompletion=completion.labels,
        ),
    ] = None,
    template: options.Template = None,
    model: options.Model = DEFAULT_MODEL,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = None,
    no_cache: options.NoCache = False,
    limit: Annotated[
        int | None, input_option(min=0, metavar="N", help="Number of images; 0: only generate.", show_default="all")
    ] = None,
    per_class: Annotated[
        int | None, input_option(min=1, metavar="N", help="Number of images of each class.", show_default="all")
    ] = None,
    confidence: options.Confidence = 0.95,
    draws: options.Draws = None,
    budget: options.Budget = None,
    schedule: options.Schedule = "race",
    score: options.Score = None,
    times: options.Times = None,
    views: options.ViewsText = None,
    shortlist: options.Shortlist = None,
    tree: options.Tree = None,
    error_in: options.ErrorIn = DEFAULT_ERROR,
    profile: ProfileFile = None,
    seed: Annotated[int, more_option(metavar="N", help="Random seed of draws and chosen images.")] = 0,
    batch: options.Batch = None,
    records: Annotated[
        str | None, output_option(metavar="FILE.jsonl", help="Save each record as soon as it is made.")
    ] = None,
    resume: Annotated[bool, output_option("--resume", help="Continue the records of an interrupted run.")] = False,
    as_json: options.Json = False,
    as_markdown: options.Markdown = False,
    output: Annotated[
        str | None,
        output_option("--output", "-o", metavar="FILE", help="A .txt, .md or .json file, or a .html report."),
    ] = None,
    figure: Annotated[
        str | None, output_option(metavar="FILE", help="Plot accuracy by cost and by coverage, .png or .svg.")
    ] = None,
    min_probability: options.MinProbability = None,
    wide: options.Wide = False,
    generate: Annotated[
        int | None, effort_option(metavar="N", help="Generate and compare N images per spec, too.")
    ] = None,
    feature: Annotated[
        str | None,
        more_option(metavar="NAME", help=f"For --generate: {', '.join(FEATURES)}.", show_default=DEFAULT_FEATURE),
    ] = None,
    sampler: Annotated[
        str | None,
        more_option(metavar="NAME", help="Sampler for --generate.", autocompletion=completion.samplers),
    ] = None,
    steps: Annotated[int | None, more_option(metavar="N", help="Sampling steps for --generate.")] = None,
    guidance: Annotated[float | None, more_option(metavar="W", help="Guidance scale for --generate.")] = None,
    keep: Annotated[
        str | None, more_option(metavar="DIR", help="Folder for the images of --generate, to continue from.")
    ] = None,
    workers: sharding.RecordWorkers = None,
    engine: sharding.Engine = None,
    shard_size: sharding.RecordShardSize = None,
    confusion: Annotated[bool, more_option("--confusion", help="Add the confusion matrix.")] = False,
    download: Annotated[bool, input_option("--download", help="Download the dataset if it is not there.")] = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Compare compressions on labelled images, by accuracy and cost.

    \b
    Examples:
      bigain evaluate photos/ -c none -c lgtm:0.7 --limit 200 -o summary.md
      bigain evaluate pets:data --download -m sd2 -c none -c lgtm:0.7 --json
    """
    options.check_output(output, "summary.md")
    options.check_named("--keep", keep, "kept/")
    generating = {"feature": feature, "sampler": sampler, "steps": steps, "guidance": guidance, "keep": keep}
    formats = {options.JSON: as_json, options.MARKDOWN: as_markdown}
    rules = StoppingRules(
        schedule, confidence, draws, budget, None, score, times=read_times(times), error_in=error_in, views=views
    )
    request = EvaluateRequest(
        dataset=dataset, specs=tuple(compress or ()), against=against, labels=labels, templates=tuple(template or ()),
        model=model, device=device, dtype=dtype, limit=limit, per_class=per_class,
        rules=rules, seed=seed, batch=batch, cache=not no_cache,
        records=records, resume=resume, format=options.chosen_format(formats, output, SUFFIXES, "--json or --markdown"),
        output=None if output == "-" else output, figure=figure, confusion=confusion, download=download, force=force,
        min_probability=min_probability, wide=wide, shortlist=shortlist, tree=tree,
        generate=generated_images(generate, force, generating),
    )  # fmt: skip
    shared = sharding.read_sharding(None, workers, engine, shard_size, verbose)
    request.check(over_shards=shared is not None)
    messages = Messages.start(quiet, verbose)
    request = tuned(request, profile, messages)
    if shared:
        from bigain_cli.cli.sharded_evaluate import run_sharded

        return run_sharded(request, shared, messages)
    from bigain_cli.cli.evaluate_run import run_request

    return run_request(request, messages)
