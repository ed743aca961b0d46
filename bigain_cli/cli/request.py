"""What a user asked `classify` for, and whether it makes sense; found out before anything heavy is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bigain_cli.compress import Spec, parse
from bigain_cli.errors import UsageError, check_known
from bigain_cli.outputs.files import IN_PLACE
from bigain_cli.outputs.plotting import require_plotting
from bigain_cli.registry import DTYPES, OUTPUTS
from bigain_cli.rules import Rules

Conflict = tuple[bool, str, str, str]  # whether it holds, what, why, what to try
LINES = "Use -o FILE.jsonl."


@dataclass(frozen=True)
class Request:
    """Everything the user asked for."""

    inputs: tuple[str, ...]
    files_from: str | None
    null: bool
    recursive: bool
    labels: str
    templates: tuple[str, ...]
    model: str
    device: str
    dtype: str
    rules: Rules
    seed: int
    reject: bool
    compress: Spec | None
    batch: int | None
    format: str
    output: str | None
    top: int | None
    resume: bool
    force: bool
    timing: bool
    heatmap: str | None
    watch: bool

    @property
    def grows(self) -> bool:
        """Tell whether the output grows line by line, so that it can be gone on with."""
        return self.format == "jsonl" and (self.output or "").lower().endswith(IN_PLACE)


def given_labels(labels: str | None) -> str:
    """Insist on labels."""
    if labels is None:
        raise UsageError(
            "no labels", "nothing to choose between", "Give -l FILE, -l cat,dog or a preset (bigain list labels)."
        )
    return labels


def chosen_spec(compress: str | None, merge: float | None, kv: int | None) -> Spec | None:
    """Read the compression asked for; None leaves it to the model."""
    if compress is None and merge is None and kv is None:
        return None
    if compress is not None and not (merge is None and kv is None):
        hint = "Write all of it after -c, joined with '+'."
        raise UsageError("--compress with --merge or --kv", "both say how to compress", hint)
    short = [f"lgtm:{merge:g}"] if merge is not None else []
    short += [f"iekvd:{kv}"] if kv is not None else []
    return parse(compress if compress is not None else "+".join(short))


def chosen_format(flags: dict[str, bool], output: str | None) -> str:
    """Return the format asked for by flag, else by the file's suffix, else the table."""
    chosen = [name for name, wanted in flags.items() if wanted]
    if len(chosen) > 1:
        raise UsageError(" ".join(f"--{name}" for name in chosen), "only one format at a time", "Choose one of them.")
    suffixes = {suffix: name for name, entry in OUTPUTS.items() for suffix in entry.suffixes}
    suffix = "." + (output or "").rpartition("/")[2].rpartition(".")[2].lower()
    if chosen:
        if output is not None and suffixes.get(suffix, "table") not in ("table", chosen[0]):
            raise UsageError(f"--{chosen[0]} -o {output}", "the file's name says another format", "Choose one of them.")
        return chosen[0]
    if output is None or output == "-":
        return "table"
    if suffix not in suffixes:
        raise UsageError(
            f"--output {output}", "its suffix names no format", f"Use {', '.join(suffixes)}, or a flag such as --jsonl."
        )
    return suffixes[suffix]


def check(request: Request, quiet: bool) -> None:
    """Refuse flags that would do nothing or contradict each other, and names that no machine has."""
    for wrong, what, why, hint in (*_input_conflicts(request), *_output_conflicts(request)):
        if wrong:
            raise UsageError(what, why, hint)
    if quiet and request.watch:
        raise UsageError("--quiet --watch", "one is silent, the other talks", "Choose one.")
    if request.heatmap is not None:
        require_plotting("--heatmap")
    check_machine(request.device, request.dtype)


def _input_conflicts(request: Request) -> Iterator[Conflict]:
    stdin = [name for name in request.inputs if name == "-"] + ["--files-from -"] * (request.files_from == "-")
    nothing = not request.inputs and request.files_from is None
    yield nothing, "no input", "nothing to classify", "Give images or folders, or --files-from."
    yield len(stdin) > 1, " and ".join(stdin), "stdin can be read only once", "Put the image in a file."
    alone = request.null and request.files_from is None
    yield alone, "--null", "only says how --files-from is read", "Add --files-from."


def _output_conflicts(request: Request) -> Iterator[Conflict]:
    resume, output = request.resume, request.output
    yield resume and output is None, "--resume", "goes on with a file, and there is none", "Add -o FILE.jsonl."
    yield (
        resume and not request.grows,
        "--resume",
        "only a .jsonl file grows line by line and can be gone on with",
        LINES,
    )
    yield resume and request.force, "--resume --force", "one keeps the file, the other replaces it", "Choose one."
    from_stdin = resume and "-" in request.inputs
    yield from_stdin, "--resume", "stdin has no name to recognise it by", "Put the image in a file."
    yield request.force and output is None, "--force", "replaces a file, and none is named", "Add -o FILE."
    timed = request.format in ("json", "jsonl")
    yield request.timing and not timed, "--timing", "only records of --json and --jsonl hold seconds", "Add --jsonl."
    empty = request.heatmap is not None and not request.heatmap.strip()
    yield empty, "--heatmap", "its folder has no name", "Write --heatmap maps."


def check_machine(device: str, dtype: str) -> None:
    """Refuse names that no machine has, before anything heavy is loaded."""
    check_known("--dtype", dtype, ("auto", *DTYPES))
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise UsageError(f"--device {device}", "not a device", "Use auto, cpu, cuda, cuda:1 or mps.")
