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
from bigain_cli.outputs.plotting import drawn
from bigain_cli.outputs.sink import Layout, encode, opened
from bigain_cli.outputs.text import counted

TOP = 5  # labels in a page
FAILURES = 3  # that are named one by one


def run_request(inquiry: EvaluateRequest, talk: Messages) -> int:
    """Evaluate; return 1 if any image failed, else 0."""
    run = _start(inquiry, talk)
    with _page(inquiry, run) as page:
        _classify(run, inquiry, talk, page)
        try:
            if inquiry.generate is not None:
                _generate(run, inquiry, inquiry.generate.keep, talk)
        finally:  # what was classified is written even if no image could be generated
            summary = run.summary(finish=False)
            _write(inquiry, summary, page, talk)
    for message in list(summary.failed.values())[:FAILURES]:
        talk.error(message)
    if summary.failed:
        more = "; --json names them all" if len(summary.failed) > FAILURES else ""
        talk.error(f"{counted(len(summary.failed), 'image')} failed and excluded for every spec{more}")
    return 1 if summary.failed else 0


def _start(inquiry: EvaluateRequest, talk: Messages) -> Any:
    """Open the dataset, load the model, and begin."""
    from bigain_cli.datasets.opening import open_dataset
    from bigain_cli.evaluation.inputs import evaluation_inputs

    dataset = open_dataset(inquiry.dataset, inquiry.download)
    if inquiry.confusion and dataset.many:
        raise UsageError("--confusion", "images of this dataset have several labels", "Leave it out.")
    options = {name: getattr(inquiry, name) for name in ("labels", "limit", "per_class", "seed", "rules", "generate")}
    inputs = evaluation_inputs(dataset, **options)  # what cannot be is refused before the model is loaded
    chosen = f"{len(inputs.chosen.cases)} of {len(dataset.cases)} images"
    talk.detail(f"{dataset.name}: {chosen}, labels: {inputs.labels.origin}")
    if dataset.strays:
        talk.note(f"{len(dataset.strays)} excluded, the first: {dataset.strays[0]}")
    resolve(inquiry.model)
    from bigain_cli import evaluate, load

    started = time.monotonic()
    backbone = load(inquiry.model, inquiry.device, inquiry.dtype)
    talk.detail(f"model: {inquiry.model} on {backbone.device}, loaded in {time.monotonic() - started:.1f} s")
    options |= {name: getattr(inquiry, name) for name in ("against", "templates", "batch", "records", "resume")}
    options |= {"replace": inquiry.force, "heatmaps": inquiry.form == "html"}
    run = evaluate(backbone, dataset, inquiry.specs, **options)
    if not inquiry.specs and len(run.specs) == 1:
        talk.note(f"{inquiry.model} recommends no compression, so there is nothing to compare; add -c SPEC")
    return run


def _classify(run: Any, inquiry: EvaluateRequest, talk: Messages, page: Html | None) -> None:
    """Follow the records: those of an earlier run, then the new ones."""
    if inquiry.resume:
        _describe_found(run, inquiry, talk)
    before = run.recorded
    with ProgressBar(talk, "classifying", "answers") as meter:
        try:
            for trial in run.records:
                if page is not None:
                    page.write(trial.record, trial.result)
                if not trial.earlier:
                    meter.show(run.recorded - before, run.total - before)
        except KeyboardInterrupt:
            early = f", or sum up what is complete with --resume --limit {run.finished_images}"
            go_on = f"continue with --resume{early if run.finished_images else ''}"
            kept = f"are in {inquiry.records}; {go_on}" if inquiry.records else "are lost: use --records"
            talk.note(f"interrupted; {run.recorded} of {run.total} answers {kept}")
            raise


def _describe_found(run: Any, inquiry: EvaluateRequest, talk: Messages) -> None:
    """Say what an earlier run has recorded."""
    found, path = run.found, str(inquiry.records)
    if found.torn:
        talk.note(f"{path}: the last line was incomplete; its image is classified again")
    without = "; a page shows them without images" if inquiry.form == "html" else ""
    talk.recorded(path, counted(found.answers, "answer"), found.failures, without)
    if found.others:
        talk.note(f"{path}: {counted(found.others, 'record')} of other settings or images kept")
    if found.unknown:
        here = next((case.id for case in run.dataset.cases), "none")
        why = f"images are called {found.unknown} there and {here} here"
        talk.note(f"{path}: {why}; if they are the same, stop and name the dataset as before")


def _generate(run: Any, inquiry: EvaluateRequest, keep: str | None, talk: Messages) -> None:
    """Follow the generated images."""
    with ProgressBar(talk, "generating", "images") as meter:
        try:
            for progress in run.images:
                meter.show(progress.done, progress.of)
        except KeyboardInterrupt:
            written = inquiry.limit != 0 and bool(inquiry.output or inquiry.figures)
            more = " with --resume" if inquiry.records else " with --force" if written else ""
            kept = f"are in {keep}; the same command{more} continues" if keep else "are lost: use --keep"
            talk.note(f"interrupted while generating; the complete classes {kept}")
            raise


@contextmanager
def _page(inquiry: EvaluateRequest, run: Any) -> Iterator[Html | None]:
    """Open the page that shows every answer, if one is wanted; one that was stopped says so."""
    if inquiry.form != "html" or inquiry.output is None:
        yield None
        return
    names = (*run.labels, *((NONE,) if run.dataset.many else ()))
    page = Html(Layout(names, TOP, reject=run.dataset.many))
    with open_target(inquiry.output, inquiry.replace) as stream, opened(page, stream, inquiry.output):
        yield page


def _write(inquiry: EvaluateRequest, summary: Any, page: Html | None, talk: Messages) -> None:
    """Write the summary where it belongs, and the figure."""
    from bigain_cli.evaluation.report import written

    if page is not None:
        page.remark(written(summary, "table", inquiry.confusion))
        page.describe({**summary.about, "chosen": summary.chosen, "compressions": list(summary.failures)})
    elif inquiry.limit != 0 or summary.gallery is not None:
        text = encode(written(summary, inquiry.form, inquiry.confusion) + "\n")
        if inquiry.output is None:
            typer.echo(text, nl=False)
        else:
            write_whole(inquiry.output, text, inquiry.replace)
    if inquiry.figures and not summary.outcomes:
        talk.note("no image was classified under all specs, so there is no figure")
        return
    for name in inquiry.figures:
        from bigain_cli.evaluation.chart import chart_of

        write_whole(name, drawn(chart_of(summary), PurePath(name).suffix[1:].lower()), inquiry.replace)
