"""Runs `evaluate` over shards: the records are made by workers, and summarised once all of them are there."""

from __future__ import annotations

from typing import Any

import typer

from bigain_cli.backbones.model_locations import resolve
from bigain_cli.backbones.unloaded_model import read_unloaded
from bigain_cli.cli.cache_folder import cache_folder, hub_cache
from bigain_cli.cli.evaluate_notes import say_choices
from bigain_cli.cli.evaluate_request import EvaluateRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import shown_wait
from bigain_cli.cli.sharded_run import run_shards
from bigain_cli.cli.sharding import Sharding, variables_of_options
from bigain_cli.engines.evaluate_job import EvaluateJob, manifest_lines
from bigain_cli.errors import UsageError
from bigain_cli.outputs.output_format import encode
from bigain_cli.outputs.whole_files import check_target, write_whole
from bigain_cli.shards.opening import make_run_folder
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import begin
from bigain_cli.shortlist.choice import is_measured


def run_sharded(request: EvaluateRequest, sharding: Sharding, messages: Messages) -> int:
    """Evaluate; return 1 if any image failed, else 0."""
    _check(request)
    if request.output is not None and not request.force:
        check_target(request.output, can_resume=False)
    with shown_wait(f"opening {request.dataset}", messages):
        from bigain_cli.datasets.dataset import choose, labels_for
        from bigain_cli.datasets.opening import open_dataset

        dataset = open_dataset(request.dataset)
    if request.confusion and dataset.multilabel:
        raise UsageError("--confusion", "images of this dataset have several labels", "Leave it out.")
    chosen = choose(dataset, request.limit, request.per_class, request.seed)
    say_choices(dataset, chosen, labels_for(chosen, request.labels)[0], request, messages)
    folder = make_run_folder(str(request.records), cache_folder())
    if request.output is not None and folder.owns(request.output):
        folder.remove_empty()
        raise UsageError(f"-o {request.output}", "a file of the run itself", "Name another file.")
    own = read_unloaded(resolve(request.model), hub_cache()).card.compress
    specs = request.specs or tuple(dict.fromkeys(("none", own)))
    runs = len(specs) * (2 if is_measured(request.shortlist, request.tree) else 1)
    ids = [case.id for case in chosen.cases]
    run = begin(folder, folder.write_manifest(manifest_lines(ids, runs)), sharding.size)
    names = ("dataset", "model", "rules", "device", "dtype", "labels", "templates", "against", "limit", "per_class")
    more = ("seed", "batch", "min_probability", "shortlist", "tree")
    options: dict[str, Any] = {name: getattr(request, name) for name in (*names, *more)}
    job = EvaluateJob(specs=specs, cache=cache_folder() if request.cache else None, **options)
    code = run_shards(folder, run, job, sharding, messages, request.min_probability, unit="record")
    with shown_wait("summarising", messages):
        summary = _summary(job, folder, sharding)
    from bigain_cli.evaluation.report import written

    text = encode(written(summary, request.format, request.confusion, request.is_wide) + "\n")
    if request.output is None:
        typer.echo(text, nl=False)
    else:
        write_whole(request.output, text, request.force)
    messages.closing(f"{summary.headline} → {request.output or request.records}")
    return code


def _summary(job: EvaluateJob, folder: RunFolder, sharding: Sharding) -> Any:
    """Summarise where the workers were: there is the model, and a device as theirs."""
    if not sharding.on_ray:
        return job.summarise(folder)
    from bigain_cli.engines.ray_actors import call_on_ray

    place = sharding.engine, job.device != "cpu", variables_of_options()
    return call_on_ray(job.summarise, folder.as_seen_elsewhere(), *place)


def _check(request: EvaluateRequest) -> None:
    """Refuse what a run over shards cannot do."""
    if request.records is None or request.records.lower().endswith((".jsonl", ".ndjson")):
        raise UsageError("--workers or --engine", "the records need a folder", "Add --records results/.")
    others = {"--generate": request.generate, "--figure": request.figure, "--download": request.download}
    if request.force and request.output is None:
        raise UsageError("--force", "is for -o FILE: a run over shards goes on from its records", "Leave it out.")
    for name, value in others.items():
        if value:
            raise UsageError(name, "is not for a run over shards", "Leave it out.")
    if request.format == "html":
        why = "a report needs the images, which the workers keep"
        raise UsageError(f"-o {request.output}", why, "Write a .md or .json file.")
