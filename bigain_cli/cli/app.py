"""The verbs, and their help: options in panels, those of the last one with --help-all only."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from bigain_cli.cli.bench import bench
from bigain_cli.cli.classify import classify
from bigain_cli.cli.evaluate import evaluate
from bigain_cli.cli.generate import generate
from bigain_cli.cli.inspect import inspect
from bigain_cli.cli.listing import list_things
from bigain_cli.cli.options import PANELS
from bigain_cli.cli.train import train
from bigain_cli.version import __version__

WIDEST = 24  # letters of an option's name beside its help; longer names have a line of their own

app = typer.Typer(
    name="bigain",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(given: bool) -> None:
    if given:
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


class Verb(TyperCommand):
    """A command whose help shows its options in panels, as plain text."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            TyperOption(
                param_decls=["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_help_all,
                help="Show the rarely used options, too.",
            )
        )

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a panel after the other, all aligned."""
        panels: dict[str, list[tuple[str, str]]] = {panel: [] for panel in PANELS}
        for param in self.get_params(ctx):
            usual = PANELS[0] if param.param_type_name == "argument" else PANELS[-2]
            record = param.get_help_record(ctx)
            if record is not None:
                panels.setdefault(getattr(param, "rich_help_panel", None) or usual, []).append(record)
        if not ctx.meta.get(PANELS[-1]):
            del panels[PANELS[-1]]
        width = min(max(len(name) for rows in panels.values() for name, _ in rows), WIDEST)
        for panel, rows in panels.items():
            if rows:
                with formatter.section(panel):
                    formatter.write_dl([(name.ljust(width), text) for name, text in rows], col_max=width)


def _help_all(context: typer.Context, _: object, given: bool) -> None:
    if given:
        context.meta[PANELS[-1]] = True
        typer.echo(context.get_help())
        raise typer.Exit


VERBS: dict[str, Callable[..., Any]] = {
    "classify": classify,
    "generate": generate,
    "evaluate": evaluate,
    "inspect": inspect,
    "bench": bench,
    "train": train,
    "list": list_things,
}
for name, verb in VERBS.items():
    app.command(name, cls=Verb)(verb)


def answer(arguments: Sequence[str]) -> int:
    """Run a command line; every failure, a closed pipe and Ctrl-C too, is left to the caller."""
    command = typer.main.get_command(app)
    if "_BIGAIN_COMPLETE" in os.environ:
        command(prog_name="bigain")  # answers the shell and leaves
    with command.make_context("bigain", list(arguments)) as context:
        return int(command.invoke(context) or 0)
