"""`--dry-run`: what a request would do, found out without torch."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import typer

from bigain_cli.backbones.outline import Outline
from bigain_cli.cli.inputs import sources
from bigain_cli.cli.prospect import most_of, prospect
from bigain_cli.cli.request import Request
from bigain_cli.labels import presets, read_labels
from bigain_cli.outputs.files import check_folder, check_target
from bigain_cli.outputs.sink import encode
from bigain_cli.registry import DEFAULT_SCORE
from bigain_cli.rules import placed


def rehearse(request: Request) -> int:
    """Print the plan; fail as the run would if an input is missing."""
    labels = read_labels(request.labels, presets())
    if request.output is not None:
        check_target(request.output, request.force, request.resume)
    ahead = prospect(request.model, labels, request.templates, request.reject, request.rules)
    _check_maps(request, ahead.outline)
    with ExitStack() as open_files:
        found = list(sources(request, open_files))
    missing = [source.id for source in found if source.error is not None]
    images = len(found) - len(missing)
    plan: dict[str, Any] = {
        "images": images,
        "missing": missing,
        "labels": len(ahead.arms) - request.reject,
        "labels_from": labels.origin,
        "prompts": sum(ahead.prompts),
        "evaluations_at_most": images * most_of(ahead.rules, ahead.prompts, request.compress),
        "model": {"name": ahead.reference.name, "source": ahead.reference.where, "present": ahead.present},
        "output": request.output or "stdout",
        "format": request.format,
    }
    as_json = request.output is None and request.format in ("json", "jsonl")
    typer.echo(encode(json.dumps(plan, ensure_ascii=False) if as_json else _text(plan)))
    return 1 if missing else 0


def _check_maps(request: Request, outline: Outline | None) -> None:
    """Refuse maps that could not be drawn, or not be saved."""
    if request.heatmap is None:
        return
    check_folder(request.heatmap)
    score = request.rules.score or (outline.card.score if outline else DEFAULT_SCORE)
    placed(score)


def _text(plan: dict[str, Any]) -> str:
    model = plan["model"]
    state = "present" if model["present"] else "not present, would be downloaded"
    lines = [
        f"images       {plan['images']}" + (f", {len(plan['missing'])} missing" if plan["missing"] else ""),
        f"labels       {plan['labels']} ({plan['labels_from']}), {plan['prompts']} prompts",
        f"evaluations  at most {plan['evaluations_at_most']}",
        f"model        {model['name']} ({model['source']}), {state}",
        f"output       {plan['output']} ({plan['format']})",
        *(f"missing      {name!r}" for name in plan["missing"]),
    ]
    return "\n".join(lines)
