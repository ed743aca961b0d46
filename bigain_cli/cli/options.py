"""Options that several verbs have, and their checks. Must not know torch until a model is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any

import typer

from bigain_cli.cli import completion
from bigain_cli.cli.threads import use_threads
from bigain_cli.compress import Spec, parse
from bigain_cli.errors import UsageError, check_known
from bigain_cli.matching.options import UNBOUNDED
from bigain_cli.outputs.whole_files import refuse_address
from bigain_cli.registry import DTYPES, ERRORS, SCHEDULES, SCORES

PANELS = ("Input", "Labels", "Model", "Effort", "Output", "More")  # the last one with --help-all only
input_option, label_option, model_option, effort_option, output_option, more_option = (
    partial(typer.Option, rich_help_panel=panel) for panel in PANELS
)

Model = Annotated[
    str,
    model_option(
        "--model",
        "-m",
        envvar="BIGAIN_MODEL",
        metavar="MODEL",
        help="A name (bigain list models), a hub id, a folder or a file.",
        autocompletion=completion.models,
    ),
]
Template = Annotated[
    list[str] | None,
    more_option("--template", "-t", metavar="TEXT", help='Prompt, as "a photo of a {}."; repeat to average.'),
]
Device = Annotated[str, model_option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[str, more_option(metavar="DTYPE", help="auto, float32, float16 or bfloat16.")]
Threads = Annotated[  # set by its callback, before torch is loaded
    int | None,
    more_option(
        min=1,
        metavar="N",
        help="CPU threads; another number can change the last digits.",
        show_default="one per core",
        callback=use_threads,
    ),
]
Compress = Annotated[
    str | None,
    model_option(
        "--compress",
        "-c",
        metavar="SPEC",
        help="Compression: lgtm:0.7, iekvd:2@0.9, none, … (bigain list operators).",
        show_default="the model's own",
        autocompletion=completion.specs,
    ),
]
Merge = Annotated[float | None, model_option(metavar="RATIO", help="Merge tokens: short for -c lgtm:RATIO.")]
Kv = Annotated[int | None, more_option(metavar="FACTOR", help="Short for -c iekvd:FACTOR.")]
Confidence = Annotated[
    float, effort_option(metavar="P", help="Confidence level for eliminating labels and for gap intervals.")
]
MinProbability = Annotated[
    float | None,
    output_option(
        "--min-probability", metavar="P", help="Answer 'unsure' when the best label's probability is below P."
    ),
]
Wide = Annotated[bool, more_option("--wide", help="Print every column, whatever the terminal's width.")]
Draws = Annotated[
    int | None,
    effort_option(
        metavar="N",
        help="Maximum number of noise draws per label.",
        show_default="set by model and schedule",
    ),
]
Budget = Annotated[int | None, more_option(metavar="N", help="Maximum number of network evaluations per image.")]
Schedule = Annotated[
    str, more_option(metavar="NAME", help=f"{', '.join(SCHEDULES)}.", autocompletion=completion.schedules)
]


def _score_option(names: Iterable[str], offer: Any) -> Any:
    about = f"{', '.join(names)}."
    return more_option(metavar="NAME", help=about, show_default="set by model", autocompletion=offer)


Score = Annotated[str | None, _score_option(SCORES, completion.scores)]
MatchScore = Annotated[str | None, _score_option(UNBOUNDED, completion.match_scores)]
Times = Annotated[
    str | None,
    more_option(
        "--times",
        metavar="LOW:HIGH",
        help="Share of the model's time to draw from, 0 the image.",
        show_default="set by model",
    ),
]
ViewsText = Annotated[
    str | None,
    more_option(
        "--views",
        metavar="VIEWS",
        help="What draws see: none, mirror, move:PIXELS, mirror+move:1.",
        show_default="set by model",
    ),
]
ErrorIn = Annotated[
    str,
    more_option("--error-in", metavar="NAME", help=f"What errors are of: {', '.join(ERRORS)}."),
]
Shortlist = Annotated[
    str | None,
    more_option(
        "--shortlist",
        metavar="NAME",
        help="Which labels to ask: tree, MODEL[:K] or off.",
        show_default="tree from 50 labels on",
    ),
]
Tree = Annotated[
    str | None,
    more_option("--tree", metavar="FILE", help="Groups of labels for --shortlist tree.", show_default="from the model"),
]
NoCache = Annotated[bool, more_option("--no-cache", help="Keep no embeddings or digests between runs, and use none.")]
Batch = Annotated[
    int | None,
    more_option(
        min=1,
        metavar="N",
        help="Maximum batch size; rounded down to 1, 2, 4 or a multiple of 8.",
        show_default="set by device and model",
    ),
]
Json = Annotated[bool, output_option("--json", help="Write one JSON document.")]
Markdown = Annotated[bool, more_option("--markdown", help="Write Markdown tables.")]
Force = Annotated[bool, output_option("--force", help="Replace existing files.")]
Quiet = Annotated[bool, more_option("--quiet", "-q", help="Write only errors to stderr.")]
Verbose = Annotated[bool, more_option("--verbose", "-v", help="Write on stderr how the options were understood.")]


def check_output(output: str | None, example: str) -> None:
    """Refuse an empty -o."""
    check_named("-o", output, example)


def check_named(option: str, value: str | None, example: str) -> None:
    """Refuse an empty name, such as a script's unset variable."""
    if value is not None and not value.strip():
        raise UsageError(f"{option} {value!r}", "names nothing", f"Write {option} {example}.")


def check_machine(device: str, dtype: str) -> None:
    """Refuse names that no machine has, before anything heavy is loaded."""
    check_known("--dtype", dtype, ("auto", *DTYPES))
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", device):
        raise UsageError(f"--device {device}", "not a device", "Use auto, cpu, cuda, cuda:1 or mps.")


def chosen_spec(compress: str | None, merge: float | None, kv: int | None) -> Spec | None:
    """Return the compression; without one, the model's own applies."""
    if compress is None and merge is None and kv is None:
        return None
    if compress is not None and not (merge is None and kv is None):
        hint = "Write all of it after -c, joined with '+'."
        raise UsageError("--compress with --merge or --kv", "each is a compression", hint)
    short = [f"lgtm:{merge:g}"] if merge is not None else []
    short += [f"iekvd:{kv}"] if kv is not None else []
    return parse(compress if compress is not None else "+".join(short))


TEXT, MARKDOWN, JSON = "table", "markdown", "json"
SUMMARY_SUFFIXES = {".txt": TEXT, ".md": MARKDOWN, ".json": JSON}


def chosen_format(flags: Mapping[str, bool], output: str | None, suffixes: Mapping[str, str], others: str) -> str:
    """Return the format: the flag's, else that of the file's suffix, else the table. An error names `others`, too."""
    chosen = [name for name, given in flags.items() if given]
    if len(chosen) > 1:
        raise UsageError(" ".join(f"--{name}" for name in chosen), "only one format at a time", "Choose one of them.")
    if output is None or output == "-":
        return chosen[0] if chosen else TEXT
    named = suffixes.get(PurePath(output).suffix.lower())
    if chosen and named not in (None, chosen[0], TEXT):
        raise UsageError(f"--{chosen[0]} -o {output}", "the file's name says another format", "Choose one of them.")
    if not chosen and named is None:
        refuse_address(output)
        raise UsageError(f"-o {output}", "its suffix names no format", f"Use {', '.join(suffixes)}, {others}.")
    return chosen[0] if chosen else named or TEXT


def check_wide(wide: bool, form: str) -> None:
    """Refuse --wide where everything is written anyway."""
    if wide and form in (JSON, MARKDOWN):
        raise UsageError("--wide", "is about the table", f"Leave it out: {form} has everything.")


def on_command_line(context: typer.Context) -> set[str]:
    """Return the names of the parameters that are on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
