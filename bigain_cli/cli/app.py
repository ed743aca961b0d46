"""The verbs and what they have in common."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from bigain_cli import __version__
from bigain_cli.cli.bench import bench
from bigain_cli.cli.catalogue import list_things
from bigain_cli.cli.classify import classify
from bigain_cli.cli.evaluate import evaluate
from bigain_cli.cli.generate import generate
from bigain_cli.cli.inspect import inspect
from bigain_cli.cli.train import train

app = typer.Typer(
    name="bigain",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bigain {__version__}")
        raise typer.Exit


@app.callback()
def bigain(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Classify images zero-shot with a diffusion model, and generate images with the same one.

    \b
    Examples:
      bigain classify photo.jpg --model colours --labels red,green,blue
      bigain generate red -m colours -o red.png
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


app.command("classify")(classify)
app.command("generate")(generate)
app.command("evaluate")(evaluate)
app.command("inspect")(inspect)
app.command("bench")(bench)
app.command("train")(train)
app.command("list")(list_things)


def answer(arguments: Sequence[str]) -> int:
    """Carry out a command line; every failure, a closed pipe and Ctrl-C too, is left to the caller."""
    command = typer.main.get_command(app)
    if "_BIGAIN_COMPLETE" in os.environ:
        command(prog_name="bigain")  # answers the shell and leaves
    with command.make_context("bigain", list(arguments)) as context:
        return int(command.invoke(context) or 0)
