"""`bigain list`: everything that can be named on the command line, as text or JSON. Loads none of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from bigain_cli.backbones.model_card import list_models, model_pages
from bigain_cli.cli.cache_folder import hub_cache
from bigain_cli.compress.operators import list_operators
from bigain_cli.datasets.known_datasets import DATASETS
from bigain_cli.generation.samplers import SAMPLERS
from bigain_cli.labels.label_sets import list_presets
from bigain_cli.outputs.text import aligned
from bigain_cli.registry import OUTPUTS, SCHEDULES, SCORES, rows_of


class Kind(StrEnum):
    """A table to list."""

    models = "models"
    operators = "operators"
    labels = "labels"
    outputs = "outputs"
    schedules = "schedules"
    scores = "scores"
    samplers = "samplers"
    datasets = "datasets"


def list_things(
    kind: Annotated[
        Kind | None,
        typer.Argument(
            metavar="[KIND]",
            help="models, operators, labels, outputs, schedules, scores, samplers or datasets; all by default.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON document.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show sources, operators' modifiers and model cards.")
    ] = False,
) -> None:
    """List the models, operators, label presets, datasets and so on.

    \b
    Examples:
      bigain list models
      bigain list labels --json
    """
    kinds = [kind] if kind else list(Kind)
    tables = {each.value: _ROWS[each]() for each in kinds}
    if as_json:
        typer.echo(json.dumps(tables[kind.value] if kind else tables, ensure_ascii=False, indent=1))
        return
    for name, rows in tables.items():
        text = _table(rows, verbose)
        typer.echo(text if kind else f"{name}:\n  " + text.replace("\n", "\n  "))
    if verbose and Kind.models in kinds:
        typer.echo("\n" + "\n".join(model_pages()))


_ROWS = {
    Kind.models: lambda: list_models(hub_cache()),
    Kind.operators: list_operators,
    Kind.labels: list_presets,
    Kind.outputs: lambda: rows_of(OUTPUTS, "suffixes"),
    Kind.schedules: lambda: rows_of(SCHEDULES, "draws"),
    Kind.scores: lambda: rows_of(SCORES),
    Kind.samplers: lambda: rows_of(SAMPLERS, "steps"),
    Kind.datasets: lambda: rows_of(DATASETS, "fetched"),
}
_CELLS: dict[str, Callable[[Any], str]] = {
    "present": lambda value: "present" if value else "absent",
    "size_gb": lambda value: f"{value:g} GB" if value else "",
    "gated": lambda value: "gated" if value else "",
    "fetched": lambda value: "--download" if value else "by hand",
    "default": lambda value: "default" if value else "",
    "suffixes": " ".join,
    "modifiers": " ".join,
    **{unit: f"{{}} {unit}".format for unit in ("labels", "draws", "steps")},
}


def _table(rows: list[dict[str, Any]], verbose: bool) -> str:
    """Return rows in columns; sources, licences and modifiers only with `verbose`."""
    if "licence" in rows[0] and not verbose:
        rows = [_model_in_short(row) for row in rows]
    hidden = {"card"} if verbose else {"card", "source", "modifiers"}
    head, *rest = [[_CELLS.get(key, str)(row[key]) for key in row if key not in hidden] for row in rows]
    return aligned(head, rest, left=len(head))


def _model_in_short(row: dict[str, Any]) -> dict[str, Any]:
    """Return a model's name, whether it is there or what it takes to download, what it is, and whether it is gated."""
    place = "default" if row["default"] else "present" if row["present"] else f"{row['size_gb']:g} GB"
    return {"name": row["name"], "place": place, "about": row["about"], "gated": row["gated"]}
