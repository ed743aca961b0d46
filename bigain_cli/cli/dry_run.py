"""`classify --dry-run`: images, labels and evaluations counted without torch; no model is read but its card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import typer

from bigain_cli.arms import arms_of
from bigain_cli.backbones.card import Card
from bigain_cli.cli.catalogue import hub_cache
from bigain_cli.cli.request import Request
from bigain_cli.compress import Spec
from bigain_cli.labels import presets, read_labels
from bigain_cli.models import present, resolve
from bigain_cli.outputs.files import check_folder
from bigain_cli.outputs.sink import encode
from bigain_cli.registry import SCHEDULES
from bigain_cli.rules import Rules, placed


def dry_run(request: Request) -> int:
    """Print what a run would do; fail as it would if an input is missing."""
    labels = read_labels(request.labels, presets())
    request.check_output()
    model = resolve(request.model)
    card = Card.read(Path(model.where)) if model.kind == "folder" else Card()
    rules = request.rules.for_model(card.score, card.draws)
    if request.heatmap is not None:
        check_folder(request.heatmap)
        placed(rules.score or card.score)
    arms = arms_of(labels, request.templates, request.reject, None, card.template)
    prompts = [len(arm.texts) for arm in arms]
    with ExitStack() as open_files:
        found = list(request.sources(open_files))
    missing = [source.id for source in found if source.error is not None]
    images = len(found) - len(missing)
    plan: dict[str, Any] = {
        "images": images,
        "missing": missing,
        "labels": len(arms) - request.reject,
        "labels_from": labels.origin,
        "prompts": sum(prompts),
        "evaluations_at_most": images * most_evaluations(rules, prompts, request.compress),
        "model": {"name": model.name, "source": model.where, "present": present(model, hub_cache())},
        "output": request.output or "stdout",
        "format": request.format,
    }
    as_json = request.output is None and request.format in ("json", "jsonl")
    typer.echo(encode(json.dumps(plan, ensure_ascii=False) if as_json else _text(plan)))
    return 1 if missing else 0


def most_evaluations(rules: Rules, prompts: Sequence[int], spec: Spec | None) -> int:
    """Return the most evaluations of one image; a plan for compression may take one more a draw."""
    most = rules.most_draws * sum(prompts)
    if stages := SCHEDULES[rules.schedule].staged:
        most = len(stages[0]) * sum(prompts) + len(stages[1]) * sum(sorted(prompts)[-5:])
    if spec is not None and spec.shared:
        most += rules.most_draws
    return min(most, rules.budget) if rules.budget is not None else most


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
