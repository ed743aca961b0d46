"""`bigain classify`: its options. Knows no tensors."""

from __future__ import annotations

from typing import Annotated

import typer

from bigain_cli.classification.stopping import StoppingRules, read_times
from bigain_cli.cli import completion, options, sharding
from bigain_cli.cli.classify_request import ClassifyRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import effort_option, input_option, label_option, more_option, output_option
from bigain_cli.cli.profile_option import ProfileFile, tuned
from bigain_cli.errors import UsageError
from bigain_cli.registry import DEFAULT_ERROR, DEFAULT_MODEL, OUTPUTS

OTHERS = "or a flag such as --jsonl"
SUFFIXES = {suffix: name for name, entry in OUTPUTS.items() for suffix in entry.suffixes}


def classify(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Images, folders, globs; - is one image on stdin.", show_default=False),
    ] = None,
    recursive: Annotated[bool, input_option("--recursive", "-r", help="Search subfolders, too.")] = False,
    files_from: Annotated[
        str | None, more_option(metavar="FILE|-", help="Read input paths from a file or stdin, one per line.")
    ] = None,
    null: Annotated[
        bool, more_option("--null", "-0", help="Paths of --files-from end with NUL, as find -print0 writes them.")
    ] = False,
    labels: Annotated[
        str | None,
        label_option(
            "--labels",
            "-l",
            metavar="LABELS",
            help="A file, a preset (bigain list labels), or a,b,c.",
            show_default="the model's own classes",
            autocompletion=completion.labels,
        ),
    ] = None,
    template: options.Template = None,
    reject: Annotated[
        bool, label_option("--reject", help="Answer 'none' when no label beats the empty prompt.")
    ] = False,
    model: options.Model = DEFAULT_MODEL,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = None,
    no_cache: options.NoCache = False,
    compress: options.Compress = None,
    merge: options.Merge = None,
    kv: options.Kv = None,
    confidence: options.Confidence = 0.95,
    draws: options.Draws = None,
    budget: options.Budget = None,
    deadline: Annotated[
        float | None,
        more_option(metavar="SECONDS", help="Maximum seconds per image; not exactly repeatable."),
    ] = None,
    schedule: options.Schedule = "race",
    score: options.Score = None,
    times: options.Times = None,
    views: options.ViewsText = None,
    shortlist: options.Shortlist = None,
    tree: options.Tree = None,
    error_in: options.ErrorIn = DEFAULT_ERROR,
    profile: ProfileFile = None,
    seed: Annotated[int, effort_option(metavar="N", help="Random seed of the noise draws.")] = 0,
    batch: options.Batch = None,
    output: Annotated[
        str | None, output_option("--output", "-o", metavar="FILE", help="Output file; its suffix sets the format.")
    ] = None,
    as_json: Annotated[bool, output_option("--json", help="Write one JSON array.")] = False,
    as_jsonl: Annotated[
        bool, output_option("--jsonl", help="Write a JSON line per image as soon as it is done.")
    ] = False,
    as_csv: Annotated[bool, more_option("--csv", help="Write comma-separated columns.")] = False,
    as_tsv: Annotated[bool, more_option("--tsv", help="Write tab-separated columns.")] = False,
    raw_csv: Annotated[
        bool, more_option("--raw-csv", help="Leave cells of CSV and TSV that a spreadsheet would run as they are.")
    ] = False,
    top: Annotated[
        int | None, output_option(min=1, metavar="K", help="Labels per image.", show_default="5 in JSON, 1 in columns")
    ] = None,
    min_probability: options.MinProbability = None,
    wide: options.Wide = False,
    resume: Annotated[bool, output_option("--resume", help="Continue an interrupted -o FILE.jsonl.")] = False,
    force: options.Force = False,
    heatmap: Annotated[
        str | None, output_option(metavar="DIR", help="Plot which parts support the label, a PNG per image.")
    ] = None,
    sort_into: Annotated[
        str | None, more_option(metavar="DIR", help="Copy each image into a folder of its label's name.")
    ] = None,
    link: Annotated[bool, more_option("--link", help="Make links for --sort-into, not copies.")] = False,
    watch: Annotated[bool, output_option("--watch", help="Show a live table of the labels on stderr.")] = False,
    shard: sharding.Shard = None,
    workers: sharding.Workers = None,
    engine: sharding.Engine = None,
    shard_size: sharding.ShardSize = None,
    timing: Annotated[bool, more_option("--timing", help="Add seconds to each record of --json or --jsonl.")] = False,
    pace: sharding.Pace = None,
    dry_run: Annotated[bool, more_option("--dry-run", help="Only count images, labels and evaluations.")] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Rank labels for each image.

    \b
    Examples:
      bigain classify photo.jpg --model colours --labels red,green,blue
      bigain classify photos/ -r -l pets -m sd1.5 -o pets.jsonl --resume
    """
    options.check_output(output, "pets.jsonl")
    shared = sharding.read_sharding(shard, workers, engine, shard_size, verbose)
    formats = {"json": as_json, "jsonl": as_jsonl, "csv": as_csv, "tsv": as_tsv}
    rules = StoppingRules(
        schedule, confidence, draws, budget, deadline, score, times=read_times(times), error_in=error_in, views=views
    )
    request = ClassifyRequest(
        inputs=tuple(inputs or ()), files_from=files_from, null=null, recursive=recursive,
        labels=labels, templates=tuple(template or ()), reject=reject,
        model=model, device=device, dtype=dtype, compress=options.chosen_spec(compress, merge, kv),
        rules=rules, seed=seed, batch=batch, cache=not no_cache,
        format=sharding.PART_FORMAT if shared else options.chosen_format(formats, output, SUFFIXES, OTHERS),
        output=None if output == "-" else output, top=top, resume=resume, force=force,
        heatmap=heatmap, watch=watch, timing=timing, min_probability=min_probability, wide=wide,
        sort_into=sort_into, link=link, raw_csv=raw_csv, sharded=shared is not None, shortlist=shortlist, tree=tree,
    )  # fmt: skip
    request.check(quiet)
    if pace is not None and not dry_run:
        raise UsageError("--pace", "tells --dry-run how fast a worker is", "Add --dry-run.")
    if shared:
        sharding.check_folder_run(request, formats)
    messages = Messages.start(quiet, verbose)
    request = tuned(request, profile, messages)
    if dry_run:
        from bigain_cli.cli import dry_run as plan

        return plan.dry_run(request, messages, shared, pace)
    if shared:
        from bigain_cli.cli.sharded_classify import run_sharded

        return run_sharded(request, shared, messages)
    from bigain_cli.cli.classify_run import run_request

    return run_request(request, messages)
