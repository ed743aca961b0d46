"""`bigain match`: its options. Knows no tensors."""

from __future__ import annotations

from typing import Annotated

import typer

from bigain_cli.cli import options
from bigain_cli.cli.match_request import SUFFIXES, MatchRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.options import effort_option, input_option, output_option
from bigain_cli.matching.options import DRAWS, MatchOptions
from bigain_cli.registry import DEFAULT_MODEL


def match(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGES... CAPTIONS",
            help="Images, folders, globs; last a file with a caption a line, or a,b,c.",
            show_default=False,
        ),
    ] = None,
    recursive: Annotated[bool, input_option("--recursive", "-r", help="Search subfolders, too.")] = False,
    pairs: Annotated[
        str | None,
        input_option(metavar="FILE.jsonl", help="Pairs of two images and two captions, as in Winoground."),
    ] = None,
    template: options.Template = None,
    model: options.Model = DEFAULT_MODEL,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = None,
    no_cache: options.NoCache = False,
    compress: options.Compress = None,
    merge: options.Merge = None,
    kv: options.Kv = None,
    confidence: options.Confidence = 0.95,
    draws: Annotated[int, effort_option(metavar="N", help="Number of noise draws for each caption.")] = DRAWS,
    score: options.MatchScore = None,
    seed: Annotated[int, effort_option(metavar="N", help="Random seed of the noise draws.")] = 0,
    batch: options.Batch = None,
    output: Annotated[
        str | None, output_option("--output", "-o", metavar="FILE", help="A .txt, .json or .jsonl file.")
    ] = None,
    as_json: options.Json = False,
    as_jsonl: Annotated[
        bool, output_option("--jsonl", help="Write a JSON line per image or pair as soon as it is done.")
    ] = False,
    wide: options.Wide = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Tell which caption belongs to which image.

    \b
    Examples:
      bigain match photos/ captions.txt -m sd2 -o matches.jsonl
      bigain match --pairs winoground/examples.jsonl -m sd2 --json
    """
    options.check_output(output, "matches.jsonl")
    formats = {"json": as_json, "jsonl": as_jsonl}
    request = MatchRequest(
        inputs=tuple(inputs or ()), recursive=recursive, pairs=pairs,
        model=model, device=device, dtype=dtype, cache=not no_cache,
        options=MatchOptions(
            draws, confidence, score, seed, tuple(template or ()), options.chosen_spec(compress, merge, kv), batch
        ),
        format=options.chosen_format(formats, output, SUFFIXES, "--json or --jsonl"),
        output=None if output == "-" else output, wide=wide, force=force,
    )  # fmt: skip
    request.check()
    messages = Messages.start(quiet, verbose)
    from bigain_cli.cli.match_run import run_request

    return run_request(request, messages)
