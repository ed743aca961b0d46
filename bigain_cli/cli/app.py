"""The verbs and what they have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from bigain_cli import __version__
from bigain_cli.cli.catalogue import list_things
from bigain_cli.cli.classify import classify

app = typer.Typer(
    name="bigain",
    no_args_is_help=True,
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
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Classify images zero-shot with a diffusion model.

    \b
    Examples:
      bigain classify photo.jpg --model colours --labels red,green,blue
      bigain list labels
    """


app.command("classify")(classify)
app.command("list")(list_things)
