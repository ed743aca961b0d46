"""The verbs and their help: options in panels, the last panel with --help-all only."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from bigain_cli.cli.bench import bench
from bigain_cli.cli.classify import classify
from bigain_cli.cli.evaluate import evaluate
from bigain_cli.cli.first_steps import START, instead_of_a_verb
from bigain_cli.cli.gather import gather
from bigain_cli.cli.generate import generate
from bigain_cli.cli.inspect import inspect
from bigain_cli.cli.listing import list_things
from bigain_cli.cli.match import match
from bigain_cli.cli.messages import write_line
from bigain_cli.cli.offline import offline_option
from bigain_cli.cli.options import PANELS
from bigain_cli.cli.status import status
from bigain_cli.cli.train import train
from bigain_cli.cli.tune import tune
from bigain_cli.limits import check_counts
from bigain_cli.version import __version__

WIDEST_NAME = 24  # letters of an option beside its help; a longer one has a line of its own


class Verbs(TyperGroup):
    """The command's verbs; an image where a verb should stand is answered with commands to type."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the verb that the first word names."""
        if args[0] not in self.commands:
            write_line(instead_of_a_verb(args, self.commands))
            raise typer.Exit(2)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="bigain",
    cls=Verbs,
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
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Classify images zero-shot with a diffusion model, and generate images with the same one.

    \b
    Examples:
      bigain classify photo.jpg --model colours --labels red,green,blue
      bigain generate red -m colours -o red.png
    """
    if context.invoked_subcommand is None:
        write_line(START)
        raise typer.Exit(2)


class Verb(TyperCommand):
    """A command whose help shows its options in panels, as plain text."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if any(param.name == "model" for param in self.params):
            self.params.append(offline_option(PANELS[-1]))
        flag: dict[str, Any] = {"is_flag": True, "expose_value": False}
        about = "Show where a bug is, if there is one."  # read by `exit_codes`, which meets the bug
        self.params.append(TyperOption(param_decls=["--debug"], help=about, rich_help_panel=PANELS[-1], **flag))
        about = "Show the rarely used options, too."
        self.params.append(
            TyperOption(param_decls=["--help-all"], is_eager=True, callback=_help_all, help=about, **flag)
        )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options, and refuse numbers beyond all measure."""
        rest: list[str] = super().parse_args(ctx, args)
        check_counts(**ctx.params)
        return rest

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Name required arguments without typer's braces."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one panel after the other, all aligned."""
        panels: dict[str, list[tuple[str, str]]] = {panel: [] for panel in PANELS}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                default = PANELS[0] if param.param_type_name == "argument" else PANELS[-2]
                panels[getattr(param, "rich_help_panel", None) or default].append((record[0], _plain(record[1])))
        if not ctx.meta.get(PANELS[-1]):
            del panels[PANELS[-1]]
        width = min(max(len(name) for rows in panels.values() for name, _ in rows), WIDEST_NAME)
        for panel, rows in panels.items():
            if rows:
                with formatter.section(panel):
                    formatter.write_dl([(name.ljust(width), text) for name, text in rows], col_max=width)


def _plain(text: str) -> str:
    """Return an option's help without the notation for ranges, and with single brackets."""
    return re.sub(r"default: \((.*?)\)", r"default: \1", text.replace("; x>=1", "").replace("; x>=0", ""))


def _help_all(context: typer.Context, _: object, given: bool) -> None:
    if given:
        context.meta[PANELS[-1]] = True
        typer.echo(context.get_help())
        raise typer.Exit


VERBS: dict[str, Callable[..., Any]] = {
    "classify": classify,
    "generate": generate,
    "evaluate": evaluate,
    "match": match,
    "tune": tune,
    "inspect": inspect,
    "bench": bench,
    "train": train,
    "gather": gather,
    "status": status,
    "list": list_things,
}
for name, verb in VERBS.items():
    app.command(name, cls=Verb)(verb)


def run_command_line(arguments: Sequence[str]) -> int:
    """Run a command line; every failure, a closed pipe and Ctrl-C, too, is the caller's to catch."""
    command = typer.main.get_command(app)
    if "_BIGAIN_COMPLETE" in os.environ:
        command(prog_name="bigain")  # prints the completions and exits
    with command.make_context("bigain", list(arguments)) as context:
        return int(command.invoke(context) or 0)
