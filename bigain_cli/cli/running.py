"""Carries a classify request out: loads, resumes, streams outcomes to the output, counts failures."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO

from bigain_cli.cli.inputs import sources
from bigain_cli.cli.request import Request
from bigain_cli.cli.talk import Progress, Talk
from bigain_cli.labels import LabelSet, presets, read_labels
from bigain_cli.models import resolve
from bigain_cli.outputs.files import check_target, make_folder, open_target
from bigain_cli.outputs.heatmap_figure import save_panel
from bigain_cli.outputs.plotting import can_map
from bigain_cli.outputs.resume import Recorded, recorded
from bigain_cli.outputs.sink import Layout, Sink, opened
from bigain_cli.outputs.text import counted, safe
from bigain_cli.ranking import Failure, Ranking
from bigain_cli.registry import OUTPUTS, attribute

TABLE_TOP = 5


def carry_out(request: Request, talk: Talk) -> int:
    """Classify everything asked for; return 1 if any input failed, else 0."""
    labels = read_labels(request.labels, presets())
    talk.detail(f"labels: {labels.origin}, {len(labels.labels)} of them")
    if request.output is not None:
        check_target(request.output, request.force, request.resume)
    folder = make_folder(request.heatmap) if request.heatmap is not None else None
    resolve(request.model)
    with ExitStack() as open_files:
        found = sources(request, open_files)
        run = _prepared(request, labels, talk)
        done = _recorded(request, run.settings["fingerprint"], talk)
        failures, first = done.failures, ""
        wanted = (source for source in found if source.id not in done.ids)
        with (
            _kept(request, talk),
            _sink(request, [arm.name for arm in run.arms]) as sink,
            Progress(talk, request.watch) as progress,
        ):
            for outcome in run.standings(wanted):
                if outcome.finished:
                    progress.step_aside()
                    if folder is not None and isinstance(outcome, Ranking):
                        save_panel(folder, outcome)  # before the record: what is recorded is not done again
                    sink.write(outcome.to_dict(_top(request)), outcome)
                    if isinstance(outcome, Failure):
                        failures, first = failures + 1, first or outcome.message
                progress.show(outcome)
    if failures:
        of = counted(progress.results + len(done.ids), "image")
        named = f" (the first: {safe(first)})" if first and request.output is not None else ""
        talk.error(f"{failures} of {of} failed; their records say why{named}")
    return 1 if failures else 0


@contextmanager
def _kept(request: Request, talk: Talk) -> Iterator[None]:
    """Say what an interruption leaves in the output, if it is a file and was written."""
    output = request.output
    before = _stamp(output)
    try:
        yield
    except KeyboardInterrupt:
        if output is not None and request.grows and _stamp(output):
            talk.note(
                f"{output} has what was answered until now; go on with --resume{' (and no --force)' * request.force}"
            )
        elif _stamp(output) != before:  # a second interruption may have kept it from being written
            talk.note(f"{output} has what was answered until now; only a .jsonl file can be gone on with")
        raise


def _stamp(output: str | None) -> tuple[int, int] | None:
    """Return what changes when a regular file is written anew; nothing of what is no such file."""
    if output is None or not os.path.isfile(output):
        return None
    found = os.stat(output)
    return found.st_ino, found.st_mtime_ns


def _prepared(request: Request, labels: LabelSet, talk: Talk) -> Any:
    """Load the model and make it read the labels."""
    from bigain_cli import Run, load

    started = time.monotonic()
    backbone = load(request.model, request.device, request.dtype)
    pictures = OUTPUTS[request.format].pictures
    kind = str(backbone.dtype).removeprefix("torch.")
    talk.detail(f"model: {request.model} on {backbone.device} in {kind}, loaded in {time.monotonic() - started:.1f} s")
    run = Run(
        backbone,
        labels,
        templates=request.templates,
        rules=request.rules,
        seed=request.seed,
        reject=request.reject,
        compress=request.compress,
        batch=request.batch,
        timing=request.timing,
        maps=request.heatmap is not None or (pictures and can_map(request.rules.score or backbone.score)),
        views=pictures,
    )
    if run.report is not None:
        talk.detail(f"compression:\n{run.report}")
    return run


def _recorded(request: Request, fingerprint: str, talk: Talk) -> Recorded:
    """Find out what an earlier run has recorded, and say so."""
    if not request.resume or request.output is None:
        return Recorded()
    done = recorded(request.output, fingerprint)
    if done.repaired:
        talk.note(f"{request.output}: the last line was torn; its image is done again")
    if done.ids:
        talk.recorded(request.output, counted(len(done.ids), "image"), done.failures)
    if done.others:
        talk.note(f"{request.output}: {counted(done.others, 'record')} of other settings kept")
    return done


@contextmanager
def _sink(request: Request, names: list[str]) -> Iterator[Sink]:
    """Open the output, and close it so that it is valid however the run ends."""
    colour = request.output is None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    layout = Layout(tuple(names), _top(request) or 1, colour, request.reject)
    sink: Sink = attribute(OUTPUTS[request.format].sink)(layout)
    with _stream(request) as stream, opened(sink, stream, request.output or "stdout"):
        yield sink


@contextmanager
def _stream(request: Request) -> Iterator[BinaryIO]:
    if request.output is None:
        yield sys.stdout.buffer
    else:
        with open_target(request.output, request.force, request.resume) as stream:
            yield stream


def _top(request: Request) -> int:
    """Return how many labels to show: as suits the format; in a table more for a single picture."""
    if request.top is not None:
        return request.top
    single = len(request.inputs) == 1 and request.files_from is None and not os.path.isdir(request.inputs[0])
    return TABLE_TOP if request.format == "table" and single else OUTPUTS[request.format].top
