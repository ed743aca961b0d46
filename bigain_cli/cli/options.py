"""Options that several verbs have, said once so that they read alike everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

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
