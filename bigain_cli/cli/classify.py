"""`bigain classify`: options in, a `Request` out, and the request carried out. Knows no tensors."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Annotated

import typer

from bigain_cli.cli.talk import Talk
from bigain_cli.compress import Spec, parse
from bigain_cli.errors import UsageError
from bigain_cli.outputs.files import IN_PLACE
from bigain_cli.registry import DEFAULT_MODEL, OUTPUTS, SCHEDULES, SCORES
from bigain_cli.rules import Rules


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
    score_given: bool
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
    watch: bool


def classify(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Images, folders, globs; - is one image on stdin.", show_default=False),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            "-l",
            help="A label file (text, CSV, JSON), a preset (see: bigain list labels), or a list with commas.",
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            "--template", "-t", help='Prompt for a label, as "a photo of a {}."; repeat to average over several.'
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            envvar="BIGAIN_MODEL",
            help="An alias (see: bigain list models), a hub id, a diffusers folder or a .safetensors file.",
        ),
    ] = DEFAULT_MODEL,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    confidence: Annotated[float, typer.Option(help="How sure to be before a label is dropped.")] = 0.95,
    draws: Annotated[int | None, typer.Option(help="Most draws per label.", show_default="by schedule")] = None,
    budget: Annotated[int | None, typer.Option(help="Most evaluations per image.", show_default="no limit")] = None,
    deadline: Annotated[
        float | None,
        typer.Option(help="Most seconds per image; such runs cannot be repeated exactly.", show_default="no limit"),
    ] = None,
    schedule: Annotated[str, typer.Option(help=f"{', '.join(SCHEDULES)}.")] = "race",
    score: Annotated[str | None, typer.Option(help=f"{', '.join(SCORES)}.", show_default="the model's own")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    reject: Annotated[
        bool, typer.Option("--reject", help="Answer 'none' when no label beats the empty prompt.")
    ] = False,
    compress: Annotated[
        str | None,
        typer.Option(
            "--compress",
            "-c",
            help="Token compression, as lgtm:0.7 or lgtm:0.5+iekvd:2@0.9 (see: bigain list operators), or none.",
            show_default="the model's own",
        ),
    ] = None,
    merge: Annotated[
        float | None, typer.Option(metavar="RATIO", help="Short for -c lgtm:RATIO.", show_default="off")
    ] = None,
    kv: Annotated[
        int | None, typer.Option(metavar="FACTOR", help="Short for -c iekvd:FACTOR.", show_default="off")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Most evaluations at once.", show_default="by device and model")
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into folders within folders.")] = False,
    files_from: Annotated[
        str | None,
        typer.Option("--files-from", metavar="FILE|-", help="Read input paths from a file or stdin, one a line."),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths of --files-from end with NUL, as find -print0 writes them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON array.")] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Write one JSON line per image, at once.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write comma-separated columns.")] = False,
    as_tsv: Annotated[bool, typer.Option("--tsv", help="Write tab-separated columns.")] = False,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write records to a file; its suffix chooses the format."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Labels to show for each image.", show_default="5 in JSON, 1 in columns")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted -o FILE.jsonl.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing -o FILE.")] = False,
    timing: Annotated[bool, typer.Option("--timing", help="Add seconds to each record.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show live standings on stderr.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and load nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say how things were understood.")] = False,
) -> int:
    """Rank labels for each image.

    \b
    Examples:
      bigain classify photo.jpg --model colours --labels red,green,blue
      bigain classify photos/ -r -l pets -m sd1.5 -o pets.jsonl --resume
    """
    request = Request(
        inputs=tuple(inputs or ()),
        files_from=files_from,
        null=null,
        recursive=recursive,
        labels=_given_labels(labels),
        templates=tuple(template or ()),
        model=model,
        device=device,
        dtype=dtype,
        rules=Rules(schedule, confidence, draws, budget, deadline, score or "l2"),
        score_given=score is not None,
        seed=seed,
        reject=reject,
        compress=_spec(compress, merge, kv),
        batch=batch,
        format=_format({"json": as_json, "jsonl": as_jsonl, "csv": as_csv, "tsv": as_tsv}, output),
        output=None if output == "-" else output,
        top=top,
        resume=resume,
        force=force,
        timing=timing,
        watch=watch,
    )
    _consistent(request)
    talk = Talk(quiet, verbose)
    warnings.showwarning = talk.warn
    if dry_run:
        from bigain_cli.cli.rehearsal import rehearse

        return rehearse(request)
    from bigain_cli.cli.running import carry_out

    return carry_out(request, talk)


def _given_labels(labels: str | None) -> str:
    if labels is None:
        raise UsageError(
            "no labels", "nothing to choose between", "Give -l FILE, -l cat,dog or a preset (bigain list labels)."
        )
    return labels


def _spec(compress: str | None, merge: float | None, kv: int | None) -> Spec | None:
    """Read the compression asked for; None leaves it to the model."""
    if compress is None and merge is None and kv is None:
        return None
    if compress is not None and not (merge is None and kv is None):
        hint = "Write all of it after -c, joined with '+'."
        raise UsageError("--compress with --merge or --kv", "both say how to compress", hint)
    short = [f"lgtm:{merge:g}"] if merge is not None else []
    short += [f"iekvd:{kv}"] if kv is not None else []
    return parse(compress if compress is not None else "+".join(short))


def _format(flags: dict[str, bool], output: str | None) -> str:
    """Return the format asked for by flag, else by the file's suffix, else the table."""
    chosen = [name for name, wanted in flags.items() if wanted]
    if len(chosen) > 1:
        raise UsageError(" ".join(f"--{name}" for name in chosen), "only one format at a time", "Choose one of them.")
    if chosen:
        return chosen[0]
    if output is None or output == "-":
        return "table"
    suffixes = {suffix: name for name, entry in OUTPUTS.items() for suffix in entry.suffixes}
    suffix = "." + output.rpartition("/")[2].rpartition(".")[2].lower()
    if suffix not in suffixes:
        raise UsageError(
            f"--output {output}", "its suffix names no format", f"Use {', '.join(suffixes)}, or a flag such as --jsonl."
        )
    return suffixes[suffix]


def _consistent(request: Request) -> None:
    """Refuse flags that would do nothing or contradict each other."""
    from_stdin = [name for name in request.inputs if name == "-"] + ["--files-from -"] * (request.files_from == "-")
    rules = (
        (
            not request.inputs and request.files_from is None,
            "no input",
            "nothing to classify",
            "Give images or folders, or --files-from.",
        ),
        (len(from_stdin) > 1, " and ".join(from_stdin), "stdin can be read only once", "Put the image in a file."),
        (
            request.null and request.files_from is None,
            "--null",
            "only says how --files-from is read",
            "Add --files-from.",
        ),
        (
            request.resume and request.output is None,
            "--resume",
            "goes on with a file, and there is none",
            "Add -o FILE.jsonl.",
        ),
        (
            request.resume and not (request.format == "jsonl" and (request.output or "").lower().endswith(IN_PLACE)),
            "--resume",
            "only a .jsonl file grows line by line and can be gone on with",
            "Use -o FILE.jsonl.",
        ),
        (
            request.resume and request.force,
            "--resume --force",
            "one keeps the file, the other replaces it",
            "Choose one.",
        ),
        (
            request.resume and "-" in request.inputs,
            "--resume",
            "stdin has no name to recognise it by",
            "Put the image in a file.",
        ),
        (request.force and request.output is None, "--force", "replaces a file, and none is named", "Add -o FILE."),
    )
    for wrong, what, why, hint in rules:
        if wrong:
            raise UsageError(what, why, hint)


def with_score(request: Request, score: str) -> Rules:
    """Return the rules, with the model's own score unless the user chose one."""
    return request.rules if request.score_given else dataclasses.replace(request.rules, score=score)
