"""Runs an evaluation: opens the dataset, loads the model, follows the run, writes summary, page and figure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import typer

from bigain_cli.backbones.model_locations import resolve
from bigain_cli.classification.label_prompts import NONE
from bigain_cli.cli.evaluate_request import EvaluateRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.errors import UsageError
from bigain_cli.outputs.files import open_target, write_whole
from bigain_cli.outputs.html_report import Html
from bigain_cli.outputs.plotting import rendered
from bigain_cli.outputs.sink import Layout, encode, opened
from bigain_cli.outputs.text import counted

TOP = 5  # labels in a page
FAILURES = 3  # that are named one by one


def run_request(request: EvaluateRequest, messages: Messages) -> int:
    """Evaluate; return 1 if any image failed, else 0."""
    run = _start(request, messages)
    with _page(request, run) as page:
        _classify(run, request, messages, page)
        try:
            if request.generate is not None:
                _generate(run, request, request.generate.keep, messages)
        finally:  # what was classified is written even if no image could be generated
            summary = run.summary(finish=False)
            _write(request, summary, page, messages)
    for message in list(summary.failed.values())[:FAILURES]:
        messages.error(message)
    if summary.failed:
        more = "; --json names them all" if len(summary.failed) > FAILURES else ""
        messages.error(f"{counted(len(summary.failed), 'image')} failed and excluded for every spec{more}")
    return 1 if summary.failed else 0


def _start(request: EvaluateRequest, messages: Messages) -> Any:
    """Open the dataset, load the model, and begin."""
    from bigain_cli.datasets.opening import open_dataset
    from bigain_cli.evaluation.inputs import evaluation_inputs

    dataset = open_dataset(request.dataset, request.download)
    if request.confusion and dataset.many:
        raise UsageError("--confusion", "images of this dataset have several labels", "Leave it out.")
    options = {name: getattr(request, name) for name in ("labels", "limit", "per_class", "seed", "rules", "generate")}
    inputs = evaluation_inputs(dataset, **options)  # what cannot be is refused before the model is loaded
    chosen = f"{len(inputs.chosen.cases)} of {len(dataset.cases)} images"
    messages.detail(f"{dataset.name}: {chosen}, labels: {inputs.labels.origin}")
    if dataset.strays:
        messages.note(f"{len(dataset.strays)} excluded, the first: {dataset.strays[0]}")
    resolve(request.model)
    from bigain_cli import evaluate, load

    started = time.monotonic()
    backbone = load(request.model, request.device, request.dtype)
    messages.detail(f"model: {request.model} on {backbone.device}, loaded in {time.monotonic() - started:.1f} s")
    options |= {name: getattr(request, name) for name in ("against", "templates", "batch", "records", "resume")}
    options |= {"replace": request.force, "heatmaps": request.form == "html"}
    run = evaluate(backbone, dataset, request.specs, **options)
    if not request.specs and len(run.specs) == 1:
        messages.note(f"{request.model} recommends no compression, so there is nothing to compare; add -c SPEC")
    return run


def _classify(run: Any, request: EvaluateRequest, messages: Messages, page: Html | None) -> None:
    """Follow the records: those of an earlier run, then the new ones."""
    if request.resume:
        _describe_found(run, request, messages)
    before = run.recorded
    with ProgressBar(messages, "classifying", "answers") as meter:
        try:
            for trial in run.records:
                if page is not None:
                    page.write(trial.record, trial.result)
                if not trial.earlier:
                    meter.show(run.recorded - before, run.total - before)
        except KeyboardInterrupt:
            early = f", or sum up what is complete with --resume --limit {run.finished_images}"
            go_on = f"continue with --resume{early if run.finished_images else ''}"
            kept = f"are in {request.records}; {go_on}" if request.records else "are lost: use --records"
            messages.note(f"interrupted; {run.recorded} of {run.total} answers {kept}")
            raise


def _describe_found(run: Any, request: EvaluateRequest, messages: Messages) -> None:
    """Say what an earlier run has recorded."""
    found, path = run.found, str(request.records)
    if found.torn:
        messages.note(f"{path}: the last line was incomplete; its image is classified again")
    without = "; a page shows them without images" if request.form == "html" else ""
    messages.recorded(path, counted(found.answers, "answer"), found.failures, without)
    if found.others:
        messages.note(f"{path}: {counted(found.others, 'record')} of other settings or images kept")
    if found.unknown:
        here = next((case.id for case in run.dataset.cases), "none")
        why = f"images are called {found.unknown} there and {here} here"
        messages.note(f"{path}: {why}; if they are the same, stop and name the dataset as before")


def _generate(run: Any, request: EvaluateRequest, keep: str | None, messages: Messages) -> None:
    """Follow the generated images."""
    with ProgressBar(messages, "generating", "images") as meter:
        try:
            for progress in run.images:
                meter.show(progress.done, progress.of)
        except KeyboardInterrupt:
            written = request.limit != 0 and bool(request.output or request.figures)
            more = " with --resume" if request.records else " with --force" if written else ""
            kept = f"are in {keep}; the same command{more} continues" if keep else "are lost: use --keep"
            messages.note(f"interrupted while generating; the complete classes {kept}")
            raise


@contextmanager
def _page(request: EvaluateRequest, run: Any) -> Iterator[Html | None]:
    """Open the page that shows every answer, if one is wanted; one that was stopped says so."""
    if request.form != "html" or request.output is None:
        yield None
        return
    names = (*run.labels, *((NONE,) if run.dataset.many else ()))
    page = Html(Layout(names, TOP, reject=run.dataset.many))
    with open_target(request.output, request.replace) as stream, opened(page, stream, request.output):
        yield page


def _write(request: EvaluateRequest, summary: Any, page: Html | None, messages: Messages) -> None:
    """Write the summary where it belongs, and the figure."""
    from bigain_cli.evaluation.report import written

    if page is not None:
        page.remark(written(summary, "table", request.confusion))
        page.describe({**summary.about, "chosen": summary.chosen, "compressions": list(summary.failures)})
    elif request.limit != 0 or summary.image_quality is not None:
        text = encode(written(summary, request.form, request.confusion) + "\n")
        if request.output is None:
            typer.echo(text, nl=False)
        else:
            write_whole(request.output, text, request.replace)
    if request.figures and not summary.accuracies:
        messages.note("no image was classified under all specs, so there is no figure")
        return
    for name in request.figures:
        from bigain_cli.evaluation.chart import chart_of

        write_whole(name, rendered(chart_of(summary), PurePath(name).suffix[1:].lower()), request.replace)
