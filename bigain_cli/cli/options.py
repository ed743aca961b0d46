"""Options that several verbs have, and what is checked of them: written once, alike everywhere."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any

import typer

from bigain_cli.cli.messages import Messages
from bigain_cli.compress import Spec, parse
from bigain_cli.errors import UsageError, check_known
from bigain_cli.registry import DTYPES

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
        help="An alias (bigain list models), a hub id, a folder or a file.",
    ),
]
Device = Annotated[str, model_option(help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[str, more_option(help="auto, float32, float16 or bfloat16.")]
Compress = Annotated[
    str | None,
    model_option(
        "--compress",
        "-c",
        metavar="SPEC",
        help="Compression, as lgtm:0.7, iekvd:2@0.9 or none (bigain list operators).",
        show_default="by model",
    ),
]
Merge = Annotated[float | None, model_option(metavar="RATIO", help="Short for -c lgtm:RATIO.")]
Kv = Annotated[int | None, more_option(metavar="FACTOR", help="Short for -c iekvd:FACTOR.")]
DryRun = Annotated[bool, output_option("--dry-run", help="Say what would be done, and load nothing.")]
Quiet = Annotated[bool, output_option("--quiet", "-q", help="Write nothing but errors to stderr.")]
Verbose = Annotated[bool, more_option("--verbose", "-v", help="Say how things were understood.")]


def check_output(output: str | None, example: str) -> None:
    """Refuse an -o that names nothing, as a script's unset variable does."""
    if output is not None and not output.strip():
        raise UsageError(f"-o {output!r}", "names nothing", f"Write -o {example}.")


def check_machine(device: str, dtype: str) -> None:
    """Refuse names that no machine has, before anything heavy is loaded."""
    check_known("--dtype", dtype, ("auto", *DTYPES))
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise UsageError(f"--device {device}", "not a device", "Use auto, cpu, cuda, cuda:1 or mps.")


def chosen_spec(compress: str | None, merge: float | None, kv: int | None) -> Spec | None:
    """Read the compression; None leaves it to the model."""
    if compress is None and merge is None and kv is None:
        return None
    if compress is not None and not (merge is None and kv is None):
        hint = "Write all of it after -c, joined with '+'."
        raise UsageError("--compress with --merge or --kv", "both say how to compress", hint)
    short = [f"lgtm:{merge:g}"] if merge is not None else []
    short += [f"iekvd:{kv}"] if kv is not None else []
    return parse(compress if compress is not None else "+".join(short))


TEXT, MARKDOWN, JSON = "table", "markdown", "json"
FORMS = {".txt": TEXT, ".md": MARKDOWN, ".json": JSON}


def chosen_form(as_json: bool, as_markdown: bool, output: str | None, forms: Mapping[str, str] = FORMS) -> str:
    """Return the form of a summary."""
    return chosen_format({JSON: as_json, MARKDOWN: as_markdown}, output, forms, "--json or --markdown")


def chosen_format(flags: Mapping[str, bool], output: str | None, suffixes: Mapping[str, str], others: str) -> str:
    """Return the format that a flag names, else the file's suffix, else the table."""
    chosen = [name for name, given in flags.items() if given]
    if len(chosen) > 1:
        raise UsageError(" ".join(f"--{name}" for name in chosen), "only one format at a time", "Choose one of them.")
    if output is None or output == "-":
        return chosen[0] if chosen else TEXT
    named = suffixes.get(PurePath(output).suffix.lower())
    if chosen and named not in (None, chosen[0], TEXT):
        raise UsageError(f"--{chosen[0]} -o {output}", "the file's name says another format", "Choose one of them.")
    if not chosen and named is None:
        raise UsageError(f"-o {output}", "its suffix names no format", f"Use {', '.join(suffixes)}, {others}.")
    return chosen[0] if chosen else named or TEXT


def load_model(model: str, device: str, dtype: str, messages: Messages) -> Any:
    """Load a backbone, and say how long it took."""
    from bigain_cli.backbones.loading import load

    started = time.monotonic()
    backbone = load(model, device, dtype)
    kind = str(backbone.dtype).removeprefix("torch.")
    messages.detail(f"model: {model} on {backbone.device} in {kind}, loaded in {time.monotonic() - started:.1f} s")
    return backbone
