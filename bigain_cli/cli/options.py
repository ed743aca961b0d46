"""Options that several verbs have, said once so that they read alike everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from bigain_cli.errors import UsageError

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="BIGAIN_MODEL",
        help="An alias (see: bigain list models), a hub id, a diffusers folder or a .safetensors file.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")]
Merge = Annotated[float | None, typer.Option(metavar="RATIO", help="Short for -c lgtm:RATIO.", show_default="off")]
Kv = Annotated[int | None, typer.Option(metavar="FACTOR", help="Short for -c iekvd:FACTOR.", show_default="off")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and load nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def check_output(output: str | None, example: str) -> None:
    """Refuse an -o that names nothing, as a script's unset variable does."""
    if output is not None and not output.strip():
        raise UsageError(f"-o {output!r}", "names nothing", f"Write -o {example}.")
