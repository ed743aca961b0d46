"""Carries an inquiry out: finds the pictures, loads the model, has everything asked, and writes the summary."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import typer

from bigain_cli.arms import NONE
from bigain_cli.cli.answers import Answers, asked
from bigain_cli.cli.inquiry import Inquiry
from bigain_cli.cli.meter import StepMeter
from bigain_cli.cli.prospect import most_of_rungs, prospect
from bigain_cli.cli.talk import Talk
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.drawing import share_of
from bigain_cli.evaluation.specs import rungs_of
from bigain_cli.labels import LabelSet
from bigain_cli.models import resolve
from bigain_cli.outputs.files import open_target, write_whole
from bigain_cli.outputs.html_report import Html
from bigain_cli.outputs.plotting import can_map, drawn
from bigain_cli.outputs.sink import Layout, encode, opened
from bigain_cli.outputs.text import counted
from bigain_cli.registry import DATASETS

TOP = 5  # labels in a page
SHOWN = 3  # failures that are told one by one


def carry_out(inquiry: Inquiry, talk: Talk) -> int:
    """Ask about every picture under every spec; return 1 if any failed, else 0."""
    whole, dataset, labels, answers = _material(inquiry, talk, inquiry.download)
    resolve(inquiry.model)
    evaluation, studio = _prepared(inquiry, talk, whole, dataset, labels, answers)
    with _report(inquiry, labels, dataset.many) as report:
        found = asked(inquiry, evaluation, talk, report.write if report is not None else _unseen)
        summary = _summary(inquiry, evaluation, found)
        try:
            if studio is not None:
                summary = dataclasses.replace(summary, gallery=_gallery(inquiry, studio, summary.against, talk))
        finally:  # what was answered is told even if nothing could be drawn
            if report is not None:
                report.remark(_text(inquiry, summary, "table"))
                told = {key: value for key, value in summary.about.items() if key != "notes"}  # said beside the table
                report.describe({**told, "compressions": list(evaluation.specs)})
            elif inquiry.limit != 0 or summary.gallery is not None:
                _write(inquiry, summary)
            _draw(inquiry, summary, talk)
    for message in list(summary.failed.values())[:SHOWN]:
        talk.error(message)
    if summary.failed:
        more = "; --json names them all" if len(summary.failed) > SHOWN else ""
        talk.error(f"{counted(len(summary.failed), 'picture')} failed and left out for every spec{more}")
    return 1 if summary.failed else 0


def rehearse(inquiry: Inquiry, talk: Talk) -> int:
    """Say what would be done; look at the dataset, but load no model."""
    _check_presence(inquiry.dataset, inquiry.download)
    whole, dataset, labels, _ = _material(inquiry, talk, download=False)
    ahead = prospect(inquiry.model, labels, inquiry.templates, dataset.many, inquiry.rules)
    own = "none, and the model's own"
    specs = [rungs_of(text) for text in inquiry.specs or ("none",)]
    most = max(most_of_rungs(ahead.rules, ahead.prompts, rungs) for rungs in specs)
    lines = [
        f"dataset      {dataset.name}, {len(dataset.cases)} pictures of {len(dataset.classes)} classes",
        f"labels       {len(labels.labels)} ({labels.origin})",
        f"specs        {', '.join(inquiry.specs) or own}",
        f"evaluations  at most {most} a picture and spec ({sum(ahead.prompts)} prompts)",
        f"model        {ahead.told()}",
        *_ahead(inquiry, len(whole.classes)),
        f"records      {inquiry.records or 'not kept'}",
        f"output       {inquiry.output or 'stdout'} ({inquiry.form})",
        *(f"figure       {name}" for name in inquiry.figures),
    ]
    typer.echo(encode("\n".join(lines)))
    return 0


def _check_presence(dataset: str, download: bool) -> None:
    """Refuse to look ahead at what would have to be fetched first."""
    kind, _, folder = dataset.partition(":")
    fetched = kind in DATASETS and DATASETS[kind].fetched
    if download and fetched and folder and not os.path.isdir(folder):
        why = f"{dataset} is not there yet, and a dry run fetches nothing"
        raise UsageError("--dry-run --download", why, "Fetch it with --download alone.")


def _ahead(inquiry: Inquiry, classes: int) -> Iterator[str]:
    """Say what would be drawn."""
    if (drawing := inquiry.drawing) is not None:
        kept = f", kept in {drawing.keep}" if drawing.keep else ""
        yield f"drawn        {drawing.count // classes} pictures of each class under each spec{kept}"


def _material(inquiry: Inquiry, talk: Talk, download: bool) -> tuple[Any, Any, Any, tuple[str, ...]]:
    """Return the dataset, its chosen part, the labels, and the right label of each class."""
    from bigain_cli.evaluation.dataset import open_dataset, refuse_mixture
    from bigain_cli.evaluation.matching import labels_for
    from bigain_cli.evaluation.selection import choose

    whole = open_dataset(inquiry.dataset, download)
    if inquiry.drawing is not None:
        share_of(inquiry.drawing, whole)
    dataset = choose(whole, inquiry.limit, inquiry.per_class, inquiry.seed)
    refuse_mixture(dataset, inquiry.rules)
    if inquiry.confusion and dataset.many:
        raise UsageError("--confusion", "pictures of this dataset have several labels", "Leave it out.")
    labels, answers = labels_for(dataset, inquiry.labels)
    talk.detail(f"{dataset.name}: {len(dataset.cases)} of {len(whole.cases)} pictures, labels: {labels.origin}")
    if dataset.strays:
        talk.note(f"{len(dataset.strays)} left out, the first: {dataset.strays[0]}")
    return whole, dataset, labels, answers


def _prepared(
    inquiry: Inquiry, talk: Talk, whole: Any, dataset: Any, labels: Any, answers: tuple[str, ...]
) -> tuple[Any, Any]:
    """Load the model; return what is to be asked of it, and, if anything is, what is to be drawn."""
    from bigain_cli.backbones.loading import load
    from bigain_cli.evaluation.evaluate import studio_of
    from bigain_cli.evaluation.trials import Evaluation, Plan

    started = time.monotonic()
    backbone = load(inquiry.model, inquiry.device, inquiry.dtype)
    talk.detail(f"model: {inquiry.model} on {backbone.device}, loaded in {time.monotonic() - started:.1f} s")
    specs = inquiry.specs or tuple(dict.fromkeys(("none", backbone.compress)))
    if not inquiry.specs and len(specs) == 1:
        talk.note(
            f"{inquiry.model} recommends no compression, so that there is nothing to compare; add -c SPEC for that"
        )
    views = inquiry.form == "html"
    maps = views and can_map(inquiry.rules.score or backbone.score)
    plan = Plan(specs, inquiry.rules, inquiry.seed, inquiry.templates, inquiry.batch, views, maps)
    evaluation = Evaluation(backbone, dataset, labels, answers, plan)
    evaluation.named(inquiry.against)  # refused now, if it is not among them
    return evaluation, studio_of(evaluation, backbone, whole, inquiry.drawing)


def _gallery(inquiry: Inquiry, studio: Any, against: str, talk: Talk) -> Any:
    """Draw what is to be drawn, telling how it goes."""
    from bigain_cli.evaluation.pictures import Progress

    with StepMeter(talk, "drawing", "pictures") as meter:
        try:
            for event in studio.events(against):
                if not isinstance(event, Progress):
                    return event
                meter.show(event.done, event.of)
        except KeyboardInterrupt:
            keep = inquiry.drawing.keep if inquiry.drawing is not None else None
            written = inquiry.limit != 0 and bool(inquiry.output or inquiry.figures)
            more = " with --resume" if inquiry.records else " with --force" if written else ""
            kept = f"are in {keep}; the same command{more} goes on" if keep else "are lost: use --keep"
            talk.note(f"interrupted while drawing; the classes that were whole {kept}")
            raise


def _summary(inquiry: Inquiry, evaluation: Any, found: Answers) -> Any:
    from bigain_cli.evaluation.summary import summarise

    chosen = {"limit": inquiry.limit, "per_class": inquiry.per_class, "seed": inquiry.seed}
    about = {**evaluation.about(), "chosen": chosen}
    names = [label.name for label in evaluation.labels.labels]
    return summarise(found, names, evaluation.named(inquiry.against), about)


def _write(inquiry: Inquiry, summary: Any) -> None:
    text = encode(_text(inquiry, summary, inquiry.form) + "\n")
    if inquiry.output is None:
        typer.echo(text, nl=False)
    else:
        write_whole(inquiry.output, text, inquiry.replace)


def _text(inquiry: Inquiry, summary: Any, form: str) -> str:
    from bigain_cli.evaluation.report import written

    return written(summary, form, inquiry.confusion)


@contextmanager
def _report(inquiry: Inquiry, labels: LabelSet, reject: bool) -> Iterator[Html | None]:
    """Open the page that shows every answer, if one is wanted; one that was stopped says so."""
    if inquiry.form != "html" or inquiry.output is None:
        yield None
        return
    names = (*(label.name for label in labels.labels), *((NONE,) if reject else ()))
    page = Html(Layout(names, TOP, reject=reject))
    with open_target(inquiry.output, inquiry.replace) as stream, opened(page, stream, inquiry.output):
        yield page


def _unseen(record: dict[str, Any], result: Any) -> None:
    """Show a record to nobody."""


def _draw(inquiry: Inquiry, summary: Any, talk: Talk) -> None:
    if not inquiry.figures:
        return
    if not summary.outcomes:
        talk.note("no picture was answered under all specs, so there is no figure")
        return
    from bigain_cli.evaluation.chart import chart_of

    for name in inquiry.figures:
        write_whole(name, drawn(chart_of(summary), PurePath(name).suffix[1:].lower()), inquiry.replace)
