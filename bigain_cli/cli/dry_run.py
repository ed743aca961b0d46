"""`classify --dry-run`: counts images, labels and evaluations without torch; reads only the model's card."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import typer

from bigain_cli.backbones.model_locations import is_present
from bigain_cli.classification.stopping import mappable_score
from bigain_cli.cli.cache_folder import cache_folder, hub_cache
from bigain_cli.cli.classify_labels import check_labels, choose_labels, find_model
from bigain_cli.cli.classify_request import ClassifyRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.sharding import Sharding
from bigain_cli.compress.spec import parse
from bigain_cli.errors import UsageError
from bigain_cli.outputs.output_format import encode
from bigain_cli.outputs.text import counted, spoken_rate, spoken_time
from bigain_cli.outputs.whole_files import check_folder
from bigain_cli.shards.cost_model import CostModel
from bigain_cli.shards.opening import run_folder
from bigain_cli.shards.run_record import SHARD_SIZE, read_record
from bigain_cli.shortlist.choice import MODEL, MOST, OFF, ShortlistChoice, choice_for


def dry_run(
    request: ClassifyRequest, messages: Messages, sharding: Sharding | None = None, pace: float | None = None
) -> int:
    """Print what the run would do; return 1 if an input is missing."""
    model = find_model(request)
    labels = choose_labels(request, model, messages)
    if labels is None:
        hint = "Give -l, or classify one image first, which downloads the model."
        raise UsageError(f"--dry-run -m {request.model}", "its classes are not known before it is downloaded", hint)
    request.check_output()
    card, location = model.card, model.location
    rules = request.rules.for_model(card.score, card.draws, card.least_draws)
    if request.heatmap is not None:
        check_folder(request.heatmap)
        mappable_score(rules.score or card.score)
    competing = check_labels(request, labels, model)
    prompts = [len(label.texts) for label in competing]
    choice = choice_for(request.shortlist, request.tree, len(competing) - request.reject, rules.schedule)
    if choice.kind in (None, OFF):
        rules.check_budget(len(prompts), sum(prompts))
    with ExitStack() as open_files:
        found = list(request.sources(open_files))
    spec = parse(card.compress) if request.compress is None else request.compress
    missing = [source.id for source in found if source.error is not None]
    images = len(found) - len(missing)
    plan: dict[str, Any] = {
        "images": images,
        "missing": missing,
        "labels": len(competing) - request.reject,
        "labels_from": labels.origin,
        "prompts": sum(prompts),
        "shortlist": choice.name or None,
        "evaluations_at_most": images
        * rules.most_evaluations(_most_asked(prompts, choice, request.reject), spec.shared),
        "model": {"name": location.name, "source": location.where, "present": is_present(location, hub_cache())},
        "output": request.output or "stdout",
        "format": request.format,
    }
    if sharding is not None:
        run = read_record(run_folder(str(request.output), cache_folder()))
        size = sharding.size or (SHARD_SIZE if run is None else run.shard_size)
        plan["shards"] = {"count": -(-len(found) // size), "size": size}
    if pace is not None:
        workers = sharding.sharers if sharding is not None else 1
        plan["cost"] = CostModel(images, plan["evaluations_at_most"], pace, workers).to_dict()
    as_json = request.output is None and request.format in ("json", "jsonl")
    typer.echo(encode(json.dumps(plan, ensure_ascii=False) if as_json else _text(plan)))
    return 1 if missing else 0


def _most_asked(prompts: Sequence[int], choice: ShortlistChoice, reject: bool) -> Sequence[int]:
    """Return the prompts of the labels that are asked of an image at most: a tree may ask all, a model's are few."""
    if choice.kind != MODEL:
        return prompts
    always = prompts[len(prompts) - reject :]
    return [*sorted(prompts[: len(prompts) - reject], reverse=True)[: MOST * choice.kept], *always]


def _text(plan: dict[str, Any]) -> str:
    model = plan["model"]
    state = "present" if model["present"] else "not present, would be downloaded"
    lines = [
        f"images       {plan['images']}" + (f", {len(plan['missing'])} missing" if plan["missing"] else ""),
        f"labels       {plan['labels']} ({plan['labels_from']}), {plan['prompts']} prompts",
        *([f"shortlist    {plan['shortlist']}"] if plan["shortlist"] not in (None, OFF) else []),
        f"evaluations  at most {plan['evaluations_at_most']}",
        f"model        {model['name']} ({model['source']}), {state}",
        f"output       {plan['output']} ({plan['format']})",
        *_time_lines(plan),
        *(f"missing      {name!r}" for name in plan["missing"]),
    ]
    return "\n".join(lines)


def _time_lines(plan: dict[str, Any]) -> Iterator[str]:
    if "shards" in plan:
        yield f"shards       {plan['shards']['count']} of {counted(plan['shards']['size'], 'image')}"
    if cost := plan.get("cost"):
        pace = f"{cost['evaluations_per_second']:g} evaluations/s × {counted(cost['workers'], 'worker')}"
        speed = f"at least {spoken_rate(cost['images_per_second_at_least'])} images/s"
        yield f"time         {pace}: {speed}, at most {spoken_time(cost['seconds_at_most'])}"
