"""Runs `classify`: loads the model, continues a file, writes results to the output, counts failures."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, cast

from bigain_cli.classification.missing_images import MissingImages
from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.cli.classify_inputs import Inputs
from bigain_cli.cli.classify_labels import check_labels, choose_labels, find_model, say_labels
from bigain_cli.cli.classify_progress import ClassifyProgress
from bigain_cli.cli.classify_request import ClassifyRequest
from bigain_cli.cli.classify_shortlist import named_beforehand, say_tree
from bigain_cli.cli.input_count import InputCount
from bigain_cli.cli.messages import Messages
from bigain_cli.cli.model_loading import load_model
from bigain_cli.images import Source
from bigain_cli.labels import LabelSet
from bigain_cli.limits import is_whole
from bigain_cli.outputs.heatmap_figure import save_heatmap
from bigain_cli.outputs.label_folders import LabelFolders
from bigain_cli.outputs.output_format import Layout, OutputFormat, Record, opened
from bigain_cli.outputs.plotting import can_map
from bigain_cli.outputs.resume import RecordedIds, read_recorded_ids
from bigain_cli.outputs.safe_terminal import coloured
from bigain_cli.outputs.shield import SHIELD
from bigain_cli.outputs.text import counted
from bigain_cli.outputs.whole_files import make_folder, open_target
from bigain_cli.registry import OUTPUTS, attribute

WIDTH, NARROWEST = 80, 60  # cells of a table's lines where there is no terminal, and at least


def run_request(request: ClassifyRequest, messages: Messages) -> int:
    """Classify every image; return 1 if any input failed, else 0."""
    model = find_model(request)
    labels = choose_labels(request, model, messages)
    request.check_output()
    competing = () if labels is None else check_labels(request, labels, model)
    folder = make_folder(request.heatmap) if request.heatmap is not None else None
    with ExitStack() as open_files:
        open_files.enter_context(_note_on_interruption(request, messages))
        stream = _open_target(request, open_files)
        inputs = Inputs(request, open_files)
        run = MissingImages(competing) if inputs.all_missing else _start(request, labels, inputs, messages)
        done = _earlier_records(request, run.settings["fingerprint"], messages)
        first, damaged, names = "", list[str](), [label.name for label in run.competing]
        sorting = _label_folders(request, names)
        named = _EarlierInputs(done)
        found = named.watch(inputs.sources)
        remaining: Iterator[Source] = (source for source in found if source.id not in done.ids)
        if sorting is not None:
            remaining = sorting.watch(found, done.answers)
        with (
            opened(_writer(request, names), stream, request.output or "stdout") as writer,
            InputCount(request, done.ids) as count,
            ClassifyProgress(messages, request.watch, count, run.most_evaluations, run.machine) as progress,
        ):
            for outcome in run.rankings(remaining):
                if outcome.finished:
                    with progress.cleared():
                        if folder is not None and isinstance(outcome, Ranking):
                            save_heatmap(folder, outcome)  # before the record: a recorded image is not classified again
                        if sorting is not None:
                            sorting.add(outcome.id, outcome.answer if isinstance(outcome, Ranking) else None)
                        with SHIELD:
                            writer.write(outcome.to_dict(request.top_labels), outcome)
                    if isinstance(outcome, Failure):
                        first = first or outcome.message
                    elif outcome.damage:
                        damaged.append(f"{outcome.id}: {outcome.damage}")
                progress.show(outcome)
    inputs.repeats.note(messages)
    if sorting is not None:
        messages.note(str(sorting))
    if damaged:
        several = counted(len(damaged), "image")
        messages.note(f"damaged, and decoded only in part: {several} (the first: {damaged[0]})")
    target = ", ".join(str(each) for each in (request.output, folder and f"maps in {folder}") if each)
    failures, images = progress.counts.failed + named.failures, progress.counts.images + named.images
    code = _report_failures(request, messages, failures, images, first)
    messages.closing(progress.counts.sentence(progress.seconds(), request.min_probability, len(done.ids), target))
    return code


class _EarlierInputs:
    """Counts the inputs that an earlier run has recorded: others in its file say nothing of this run."""

    def __init__(self, done: RecordedIds) -> None:
        self._answers, self.images, self.failures = done.answers, 0, 0

    def watch(self, sources: Iterator[Source]) -> Iterator[Source]:
        """Yield all sources."""
        for source in sources:
            if source.id in self._answers:
                self.images += 1
                self.failures += self._answers[source.id] is None
            yield source


def _report_failures(request: ClassifyRequest, messages: Messages, failures: int, images: int, first: str) -> int:
    """Say where failures are explained; return the exit code."""
    if failures:
        where = "its record says why" if failures == 1 else "their records say why"
        example = f" (the first: {first})" if first and request.output is not None else ""
        messages.error(f"{failures} of {counted(images, 'image')} failed; {where}{example}")
    return 1 if failures else 0


def _label_folders(request: ClassifyRequest, labels: list[str]) -> LabelFolders | None:
    return None if request.sort_into is None else LabelFolders(request.sort_into, labels, request.link)


@contextmanager
def _note_on_interruption(request: ClassifyRequest, messages: Messages) -> Iterator[None]:
    """After an interruption, note whether the output file has results and can be continued."""
    output = request.output
    before = _stamp(output)
    try:
        yield
    except KeyboardInterrupt:
        is_new = request.resume or _stamp(output) != before
        if request.can_resume and is_new and _stamp(output) and os.path.getsize(str(output)):
            no_force = " (and no --force)" if request.force else ""
            messages.note(f"{output} has the results so far; continue with --resume{no_force}")
        elif not request.can_resume and _stamp(output) != before:  # it may not have: after a second interruption
            messages.note(f"{output} has the results so far; only a .jsonl file can be continued")
        raise


def _stamp(output: str | None) -> tuple[int, int] | None:
    """Return what changes when a regular file is written; None for anything else."""
    if output is None or not os.path.isfile(output):
        return None
    found = os.stat(output)
    return found.st_ino, found.st_mtime_ns


def _start(request: ClassifyRequest, labels: LabelSet | None, inputs: Inputs, messages: Messages) -> Any:
    """Load the model and encode the labels' prompts; a shortlist's model is there before it, and leaves."""
    shortlist = named_beforehand(request, labels, inputs, messages)
    backbone = load_model(request.model, request.device, request.dtype, messages, request.cache)
    from bigain_cli.classification.classifier import Classification

    with_images = OUTPUTS[request.format].images
    run = Classification(
        backbone,
        labels,
        templates=request.templates,
        rules=request.rules,
        seed=request.seed,
        reject=request.reject,
        compress=request.compress,
        batch=request.batch,
        timing=request.timing,
        maps=request.heatmap is not None
        or (with_images and request.rules.profile is None and can_map(request.rules.score or backbone.score)),
        with_images=with_images,
        min_probability=request.min_probability,
        shortlist=shortlist,
        tree=request.tree,
    )
    if labels is None:
        say_labels(run.labels, messages)
    asked = len(run.competing) - request.reject
    say_tree(request.shortlist, request.tree, asked, request.rules.schedule, messages)
    if run.report is not None:
        messages.detail(f"compression:\n{run.report}")
    return run


def _earlier_records(request: ClassifyRequest, fingerprint: str, messages: Messages) -> RecordedIds:
    """Read the records of an earlier run, and report how many there are."""
    if not request.resume or request.output is None:
        return RecordedIds()
    done = read_recorded_ids(request.output, fingerprint, lambda record: _other_fields(record, request)).current()
    if done.torn:
        messages.note(f"{request.output}: the last line was incomplete; its image is classified again")
    if done.ids:
        messages.recorded(request.output, counted(len(done.ids), "image"), done.failures)
    if done.replaced:
        images = f"{counted(done.replaced, 'image')} changed since then"
        messages.note(f"{request.output}: {images}; classified again, and the new record counts")
    if done.others:
        messages.note(f"{request.output}: {counted(done.others, 'record')} of other settings kept")
    return done


def _other_fields(record: Record, request: ClassifyRequest) -> str:
    """Say what else a record with the settings of this run has, or lacks; a failure has neither."""
    ranked = record.get("asked", (record.get("settings") or {}).get("labels"))
    if "top" not in record or not is_whole(ranked):
        return ""
    there, here = len(record["top"]), min(request.top_labels, ranked)
    if there != here:
        return f"has {counted(there, 'label')} of its image, and this run would write {here} (--top)"
    if ("seconds" in record) != request.timing:
        return (
            "has no seconds (--timing)" if request.timing else "has seconds, and this run would write none (--timing)"
        )
    return ""


def _width(request: ClassifyRequest) -> int | None:
    """Return the width of a table's lines: the terminal's; none in a file."""
    if request.wide or request.output is not None:
        return None
    return max(shutil.get_terminal_size().columns, NARROWEST) if sys.stdout.isatty() else WIDTH


def _open_target(request: ClassifyRequest, open_files: ExitStack) -> BinaryIO:
    """Open the output before anything heavy is loaded, so that what cannot be written is known at once."""
    if request.output is None:
        return coloured(sys.stdout.buffer) if request.format == "table" else sys.stdout.buffer
    return cast(BinaryIO, open_files.enter_context(open_target(request.output, request.force, request.resume)))


def _writer(request: ClassifyRequest, names: list[str]) -> OutputFormat:
    """Return the writer of the format."""
    colour = request.output is None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    layout = Layout(
        tuple(names), request.top_labels or 1, colour, request.reject, _width(request), request.min_probability,
        request.raw_csv,
    )  # fmt: skip
    writer: OutputFormat = attribute(OUTPUTS[request.format].writer)(layout)
    return writer
