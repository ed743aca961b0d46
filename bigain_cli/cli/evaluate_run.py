"""Runs `evaluate`: opens the dataset, loads the model, shows progress, writes summary, report and figure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import PurePath
from typing import Any, BinaryIO, cast

import typer

from bigain_cli.classification.label_prompts import NONE
from bigain_cli.cli.evaluate_notes import say_choices
from bigain_cli.cli.evaluate_request import EvaluateRequest
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import load_model, shown_wait
from bigain_cli.cli.progress import ProgressBar
from bigain_cli.errors import UsageError
from bigain_cli.outputs.html_comparison import ComparisonHtml
from bigain_cli.outputs.output_format import Layout, encode, opened
from bigain_cli.outputs.plotting import RISK_COVERAGE, file_beside, rendered
from bigain_cli.outputs.shield import SHIELD
from bigain_cli.outputs.text import counted, spoken_time
from bigain_cli.outputs.whole_files import held, open_target, write_whole

TOP = 5  # labels per image in a report
MOST_FAILURES = 3  # that are named one by one


def run_request(request: EvaluateRequest, messages: Messages) -> int:
    """Evaluate; return 1 if any image failed, else 0."""
    with ExitStack() as open_files:
        # Opened before anything heavy is loaded, so that what cannot be written is known at once.
        target = nullcontext() if request.output is None else open_target(request.output, request.replace)
        stream = cast(BinaryIO | None, open_files.enter_context(target))
        for figure in request.figures:
            open_files.enter_context(held(figure))
        run = _start(request, messages)
        report = open_files.enter_context(_open_report(request, run, stream))
        began = time.monotonic()
        _classify(run, request, messages, report)
        try:
            if request.generate is not None:
                _generate(run, request, request.generate.keep, messages)
        finally:  # the classification's results are written even if generation fails
            with SHIELD:
                summary = run.summary(finish=False)
                _write(request, summary, report, stream, messages)
    from bigain_cli.evaluation.report import excluded

    for message in list(summary.failed.values())[:MOST_FAILURES]:
        messages.error(message)
    if summary.failed:
        more = "; --json names them all" if len(summary.failed) > MOST_FAILURES else ""
        messages.error(f"{excluded(len(summary.failed))} for every spec{more}")
    where = f" → {request.output}" if request.output is not None else ""
    messages.closing(f"{summary.headline}, in {spoken_time(time.monotonic() - began)}{where}")
    return 1 if summary.failed else 0


def _start(request: EvaluateRequest, messages: Messages) -> Any:
    """Open the dataset, load the model, and return the run."""
    from bigain_cli.datasets.opening import open_dataset

    dataset = open_dataset(request.dataset, request.download)  # refused before anything heavy is loaded
    if request.confusion and dataset.multilabel:
        raise UsageError("--confusion", "images of this dataset have several labels", "Leave it out.")
    with shown_wait(f"loading {request.model}", messages):
        from bigain_cli.evaluation.evaluation_run import evaluate

    def load(chosen: Any, labels: Any) -> Any:
        """Load the model, once everything else is checked."""
        say_choices(dataset, chosen, labels, request, messages)
        return load_model(request.model, request.device, request.dtype, messages, request.cache)

    names = ("against", "labels", "templates", "limit", "per_class", "rules", "seed", "batch", "shortlist", "tree")
    more = ("device", "records", "resume", "generate", "min_probability")
    options = {name: getattr(request, name) for name in (*names, *more)}
    options |= {"replace": request.force, "heatmaps": request.format == "html"}
    run = evaluate(load, dataset, request.specs, **options)
    if not request.specs and len(run.specs) == 1:
        messages.note(f"{request.model} recommends no compression, so there is nothing to compare; add -c SPEC")
    return run


def _classify(run: Any, request: EvaluateRequest, messages: Messages, report: ComparisonHtml | None) -> None:
    """Classify, showing progress; records of an earlier run come first."""
    if request.resume:
        without = "; the report shows them without images" if request.format == "html" else ""
        messages.recorded(str(request.records), counted(run.found.records, "record"), run.found.failures, without)
        for note in run.notes_on_earlier_records():
            messages.note(f"{request.records}: {note}")
    before = run.recorded
    with ProgressBar(messages, "classifying", "records", plan="the rest of " * bool(before) + run.plan) as progress_bar:
        try:
            for record in run.records:
                if report is not None:
                    with SHIELD:
                        report.add_answer(record.spec, record.record, record.result)
                if not record.earlier:
                    progress_bar.show(run.recorded - before, run.total - before)
        except KeyboardInterrupt:
            summarise = f", or summarise the complete images with --resume --limit {run.finished_images}"
            resume = f"continue with --resume{summarise if run.finished_images else ''}"
            kept = f"are in {request.records}; {resume}" if request.records else "are lost: use --records"
            messages.note(f"interrupted; {run.recorded} of {run.total} records {kept}")
            raise


def _generate(run: Any, request: EvaluateRequest, keep: str | None, messages: Messages) -> None:
    """Generate images, showing progress."""
    with ProgressBar(messages, "generating", "images", plan=run.generation_plan) as progress_bar:
        try:
            for progress in run.images:
                progress_bar.show(progress.done, progress.of)
        except KeyboardInterrupt:
            written = request.limit != 0 and bool(request.output or request.figures)
            more = " with --resume" if request.records else " with --force" if written else ""
            kept = f"are in {keep}; the same command{more} continues" if keep else "are lost: use --keep"
            messages.note(f"interrupted while generating; the complete classes {kept}")
            raise


@contextmanager
def _open_report(request: EvaluateRequest, run: Any, stream: BinaryIO | None) -> Iterator[ComparisonHtml | None]:
    """Open the HTML report, if that is the format; after an interruption it is complete, and says so."""
    if request.format != "html" or stream is None:
        yield None
        return
    names = (*run.labels, *((NONE,) if run.dataset.multilabel else ()))
    report = ComparisonHtml(Layout(names, TOP, reject=run.dataset.multilabel))
    with opened(report, stream, str(request.output)):
        yield report


def _write(
    request: EvaluateRequest, summary: Any, report: ComparisonHtml | None, stream: BinaryIO | None, messages: Messages
) -> None:
    """Write the summary to the report, the file or stdout, and the figure."""
    from bigain_cli.evaluation.report import sections, written

    if report is not None:
        report.summarise(sections(summary, request.confusion, wide=True))
        report.describe({**summary.about, "chosen": summary.chosen, "compressions": list(summary.failures)})
    elif request.limit != 0 or summary.image_quality is not None:
        text = encode(written(summary, request.format, request.confusion, request.is_wide) + "\n")
        if stream is None:
            typer.echo(text, nl=False)
        else:
            stream.write(text)
    if request.figures and not summary.accuracies:
        messages.note("no image was classified under all specs, so there is no figure")
        return
    for name in request.figures:
        from bigain_cli.evaluation.chart import chart_of
        from bigain_cli.evaluation.risk_coverage_chart import risk_coverage_chart

        charts = {name: chart_of(summary)}
        if not summary.multilabel:
            charts[file_beside(name, RISK_COVERAGE)] = risk_coverage_chart(summary)
        for path, chart in charts.items():
            write_whole(path, rendered(chart, PurePath(path).suffix[1:].lower()), request.replace)
