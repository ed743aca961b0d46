"""`bigain list`: what there is, as text or JSON, without loading any of it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bigain_cli.backbones.card import Card
from bigain_cli.compress import OPERATORS
from bigain_cli.compress.operators import ALPHAS, OPTIONS
from bigain_cli.labels import presets, read_labels
from bigain_cli.models import Reference, folder_of, present
from bigain_cli.registry import DATASETS, DEFAULT_MODEL, MODELS, OUTPUTS, SAMPLERS, SCHEDULES, SCORES


class Kind(StrEnum):
    """What can be listed."""

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
        bool, typer.Option("--verbose", "-v", help="Show where things come from, and what may follow an operator.")
    ] = False,
) -> None:
    """List models, operators, label presets, outputs, schedules, scores, samplers and datasets.

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
        if len(tables) > 1:
            typer.echo(f"{name}:")
        for line in _aligned(rows, verbose):
            typer.echo(("  " if len(tables) > 1 else "") + line)
    if verbose and Kind.models in kinds:
        typer.echo("\n" + "\n".join(_cards()))


def hub_cache() -> Path:
    """Return where the hub's client keeps models; the same rules as its own, without importing it."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _models() -> list[dict[str, Any]]:
    cache = hub_cache()
    return [
        {
            "name": name,
            "present": not model.hub or present(Reference(name, "hub", model.hub), cache),
            "default": name == DEFAULT_MODEL,
            "about": model.about,
            "source": model.hub or "in the package",
            "card": dataclasses.asdict(Card.read(folder_of(model))) if model.folder else None,
        }
        for name, model in MODELS.items()
    ]


def _cards() -> Iterator[str]:
    """Yield the model cards of the package's own models, as they stand beside the weights."""
    for name, model in MODELS.items():
        if model.folder:
            yield (folder_of(model) / "README.md").read_text(encoding="utf-8").replace("# ", f"# {name}: ", 1)


def _operators() -> list[dict[str, Any]]:
    rows, bare = [], {"alpha": f"({ALPHAS})"}
    for name, operator in OPERATORS.items():
        keys = [f"{key}=({OPTIONS[key].expects})" if key in OPTIONS else bare.get(key, key) for key in operator.options]
        modifiers = [f"@{word}" for word in (*operator.variants, *keys)]
        rows.append({"name": name, "takes": operator.amount, "about": operator.about, "modifiers": modifiers})
    return rows


def _labels() -> list[dict[str, Any]]:
    return [
        {"name": name, "labels": len(read_labels(str(path), {}).labels), "source": str(path)}
        for name, path in sorted(presets().items())
    ]


def _outputs() -> list[dict[str, Any]]:
    return [
        {"name": name, "suffixes": list(output.suffixes), "about": output.about} for name, output in OUTPUTS.items()
    ]


def _schedules() -> list[dict[str, Any]]:
    return [{"name": name, "draws": schedule.draws, "about": schedule.about} for name, schedule in SCHEDULES.items()]


def _scores() -> list[dict[str, Any]]:
    return [{"name": name, "about": score.about} for name, score in SCORES.items()]


def _samplers() -> list[dict[str, Any]]:
    return [{"name": name, "steps": sampler.steps, "about": sampler.about} for name, sampler in SAMPLERS.items()]


def _datasets() -> list[dict[str, Any]]:
    return [{"name": name, "fetched": entry.fetched, "about": entry.about} for name, entry in DATASETS.items()]


_ROWS = {
    Kind.models: _models,
    Kind.operators: _operators,
    Kind.labels: _labels,
    Kind.outputs: _outputs,
    Kind.schedules: _schedules,
    Kind.scores: _scores,
    Kind.samplers: _samplers,
    Kind.datasets: _datasets,
}


def _aligned(rows: list[dict[str, Any]], verbose: bool) -> list[str]:
    """Lay rows out in columns; where things come from only if asked for."""
    cells = [
        [
            _cell(key, value)
            for key, value in row.items()
            if key != "card" and (verbose or key not in ("source", "modifiers"))
        ]
        for row in rows
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))] if cells else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cell(key: str, value: Any) -> str:
    if key == "present":
        return "present" if value else "absent"
    if key == "fetched":
        return "--download" if value else "by hand"
    if key == "default":
        return "default" if value else ""
    if key in ("labels", "draws", "steps"):
        return f"{value} {key}"
    return " ".join(value) if isinstance(value, list) else str(value)
