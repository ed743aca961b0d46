"""A summary as JSON, or as text and Markdown in sections. Intervals are 95 %."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bigain_cli.compress.spec import in_short
from bigain_cli.evaluation.calibration import BINS
from bigain_cli.evaluation.image_quality_report import image_quality_sections
from bigain_cli.evaluation.multilabel import MultilabelPrecision
from bigain_cli.evaluation.report_tables import (
    calibration,
    confusion_tables,
    differences,
    headline_table,
    multilabel_table,
    risk_coverage,
    shortlists,
)
from bigain_cli.evaluation.summary import Summary
from bigain_cli.outputs.report_sections import ReportSection, as_markdown, as_plain
from bigain_cli.outputs.text import counted

COSTS = "Costs are means per image; GFLOP count two per multiply-add"


def written(summary: Summary, form: str, confusion: bool, wide: bool = False) -> str:
    """Return a summary in a form: a table fits 80 columns unless it is wide; Markdown and JSON have everything."""
    if form == "json":
        return json.dumps(summary.to_dict(), ensure_ascii=False, indent=1)
    if form == "markdown":
        return as_markdown(sections(summary, confusion, wide=True))
    return as_plain(sections(summary, confusion, wide), wide)


def sections(summary: Summary, confusion: bool, wide: bool) -> Iterator[ReportSection]:
    """Yield the parts of a report."""
    yield ReportSection(text=_about(summary))
    if summary.multilabel:
        yield multilabel_table(summary, wide)
        yield ReportSection(text=_notes(summary, _multilabel_notes(summary), wide))
    elif summary.accuracies:
        yield headline_table(summary, wide)
        if summary.recalls:
            yield shortlists(summary, wide)
        yield risk_coverage(summary, wide)
        yield calibration(summary, wide)
        yield ReportSection(text=_notes(summary, _accuracy_notes(summary, wide), wide))
    if summary.differences and wide:
        yield differences(summary)
    if confusion and not summary.multilabel:
        yield from confusion_tables(summary, wide)
    if summary.image_quality is not None:
        yield from image_quality_sections(summary.image_quality, wide)


def _about(summary: Summary) -> str:
    about = summary.about
    failed = len(summary.failed)
    if not summary.accuracies and not failed:
        return f"{about['dataset']}: nothing classified; {_model(about)}, {about['dtype']} on {about['device']}"
    names = {"times": "times", "views": "views", "error_in": "errors in"}
    chosen = "".join(f", {name} {about[key]}" for key, name in names.items() if key in about)
    words = [
        f"{about['dataset']}: {summary.count} images, {about['labels']} labels",
        f"{_model(about)}, {about['schedule']}, at most {about['max_draws']} draws, score {about['score']}{chosen}",
        f"seed {about['seed']}, {about['dtype']} on {about['device']}, {counted(about['threads'], 'thread')}",
    ]
    return "; ".join([*words, excluded(failed)] if failed else words)


def excluded(failed: int) -> str:
    """Return how many images failed, as a sentence's beginning."""
    return f"{counted(failed, 'image')} failed and {'was' if failed == 1 else 'were'} excluded"


def _model(about: Mapping[str, Any]) -> str:
    return f"model {about['model']} (weights {about['weights']})"


def _notes(summary: Summary, own: Iterator[str], wide: bool) -> str:
    """Return what the columns are, and where a spec compresses less than its name says."""
    seconds = "; seconds are those of an image's own evaluations" if wide else ""
    less = [f"{spec}: {note}" for spec, notes in summary.notes.items() for note in notes]
    return " ".join([*own, f"{COSTS}{seconds}.", *([] if wide else _narrow_notes(summary)), *less])


def _narrow_notes(summary: Summary) -> Iterator[str]:
    if summary.differences:
        yield f"Difference: to {summary.against}, in points, paired."
    if any(name != short for name, short in in_short(list(summary.accuracies)).items()):
        yield "Specs are shown without @share=level."
    yield "--wide shows more columns and all differences, --json everything."


def _accuracy_notes(summary: Summary, wide: bool) -> Iterator[str]:
    yield "Intervals: 95 % (Wilson's for shares, Agresti and Min's for differences, normal for Brier score and NLL)."
    yield "Settled: more draws would hardly change the answer. How likely it is right, its probability says."
    seen = len({record["truth"][0] for record in summary.records[summary.against]})
    if wide and seen < len(summary.names):
        yield f"Class mean: of the {counted(seen, 'label')} that an image has."
    yield f"ECE: over {BINS} bins; by chance: its value if every probability were exact."
    if any(found.brier is None for found in summary.accuracies.values() if not isinstance(found, MultilabelPrecision)):
        yield "No Brier score: records of an earlier version lack it."


def _multilabel_notes(summary: Summary) -> Iterator[str]:
    first = next(iter(summary.accuracies.values()))  # all specs have the same images
    assert isinstance(first, MultilabelPrecision)
    over = f"mAP over the classes that any image has ({first.classes})"
    if first.labelled < summary.count:
        over += f", precision@1 over the images that have a label ({first.labelled})"
    kinds = "bootstrap over images for mAP, Wilson's and Agresti and Min's for precision@1"
    yield f"Intervals: 95 % ({kinds}); {over}."
    yield "Probabilities sum to one over all labels, and several labels may be right: they are not judged."
