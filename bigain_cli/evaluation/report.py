"""A summary in words: tables of what each spec did and how they differ, as text, Markdown or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from bigain_cli.evaluation.accuracy import Accuracy, Difference
from bigain_cli.evaluation.generated_images import ImageQuality
from bigain_cli.evaluation.image_metrics import Quality
from bigain_cli.evaluation.multilabel import MultilabelDifference, MultilabelPrecision
from bigain_cli.evaluation.summary import Summary
from bigain_cli.intervals import Interval
from bigain_cli.outputs.text import aligned, counted, markdown

Table = tuple[tuple[str, ...], list[list[str]]]
COSTS = ("draws", "evals", "GFLOP/eval", "GFLOP", "s")


def as_json(summary: Summary, confusion: bool = False) -> str:
    """Write everything there is; the confusion matrix is always in it."""
    return json.dumps(summary.to_dict(), ensure_ascii=False, indent=1)


def as_text(summary: Summary, confusion: bool = False) -> str:
    """Write aligned tables."""
    return _written(summary, confusion, aligned, "")


def as_markdown(summary: Summary, confusion: bool = False) -> str:
    """Write Markdown tables."""
    return _written(summary, confusion, markdown, "### ")


def _written(summary: Summary, confusion: bool, table: Callable[..., str], mark: str) -> str:
    parts = [_title(summary)]
    if summary.many:
        parts += [table(*_precisions(summary)), _notes(summary)]
        if summary.differences:
            parts += [f"{mark}Differences, in points", table(*_gaps(summary))]
    elif summary.accuracies:
        parts += [table(*_outcomes(summary)), _notes(summary)]
        if summary.differences:
            parts += [f"{mark}Differences, in points of top-1", table(*_differences(summary))]
        for spec in summary.accuracies if confusion else ():
            parts += [f"{mark}{spec}: answers (columns) by true label", table(*_confusion(summary, spec))]
    if summary.image_quality is not None:
        parts += image_quality(summary.image_quality, table, mark)
    return "\n\n".join(part for part in parts if part)


def _title(summary: Summary) -> str:
    about = summary.about
    failed = len(summary.failed)
    if not summary.accuracies and not failed:
        return f"{about['dataset']}: nothing classified; {_model(about)}, {about['dtype']} on {about['device']}"
    words = [
        f"{about['dataset']}: {summary.count} images, {about['labels']} labels",
        f"{_model(about)}, {about['schedule']}, at most {about['max_draws']} draws, score {about['score']}",
        f"seed {about['seed']}, {about['dtype']} on {about['device']}, {counted(about['threads'], 'thread')}",
    ]
    return "; ".join(words) + (f"; {counted(failed, 'image')} failed and excluded" if failed else "")


def _model(about: Mapping[str, Any]) -> str:
    return f"model {about['model']} (weights {about['weights']})"


def _outcomes(summary: Summary) -> Table:
    head = ("spec", "top-1 %", "top-5 %", "class mean %", "decided %", "of these right %", "ECE (by chance)", *COSTS)
    rows = []
    for spec, found in summary.accuracies.items():
        assert isinstance(found, Accuracy)
        sure = "–" if found.decided_right is None else percent(found.decided_right)
        shares = [percent(found.top1), "–" if summary.few else percent(found.top5), percent(found.per_class)]
        ece = f"{found.ece:.3f} ({found.ece_by_chance:.3f})"
        rows.append([spec, *shares, f"{100 * found.decided.value:.1f}", sure, ece, *_costs(found)])
    return head, rows


def _precisions(summary: Summary) -> Table:
    head = ("spec", "mAP %", "precision@1 %", *COSTS)
    rows = []
    for spec, found in summary.accuracies.items():
        assert isinstance(found, MultilabelPrecision)
        rows.append([spec, percent(found.mean_average), percent(found.first), *_costs(found)])
    return head, rows


def _costs(found: Accuracy | MultilabelPrecision) -> list[str]:
    each = "–" if found.gflop_evaluation is None else f"{found.gflop_evaluation:.4g}"
    return [f"{found.draws:.1f}", f"{found.evaluations:.1f}", each, f"{found.gflop:.4g}", f"{found.seconds:.3g}"]


def _differences(summary: Summary) -> Table:
    head = ("spec", "against", "points", "gained", "lost", "McNemar p", "same answer %")
    return head, [_difference(each) for each in summary.differences if isinstance(each, Difference)]


def _gaps(summary: Summary) -> Table:
    head = ("spec", "against", "mAP", "precision@1", "gained", "lost", "McNemar p", "same first label %")
    return head, [_gap(each) for each in summary.differences if isinstance(each, MultilabelDifference)]


def _gap(each: MultilabelDifference) -> list[str]:
    counts = [str(each.gained), str(each.lost), f"{each.p:.2g}", percent(each.agreement)]
    return [each.spec, each.against, points(each.mean_average), points(each.first), *counts]


def _difference(each: Difference) -> list[str]:
    counts = [str(each.gained), str(each.lost), f"{each.p:.2g}", percent(each.agreement)]
    return [each.spec, each.against, points(each.interval), *counts]


def _confusion(summary: Summary, spec: str) -> Table:
    rows = [[name, *map(str, counts)] for name, counts in zip(summary.names, summary.confusion(spec), strict=True)]
    return ("", *summary.names), rows


def _notes(summary: Summary) -> str:
    """Say what the columns are, and where a spec did less than its name says."""
    less = [f"{spec}: {note}" for spec, notes in summary.notes.items() for note in notes]
    return " ".join([_columns(summary), *less])


def _columns(summary: Summary) -> str:
    costs = "Costs are means per image; GFLOP count two for a multiply-add, s are of all images under way."
    if summary.many:
        known = {found.classes for found in summary.accuracies.values() if isinstance(found, MultilabelPrecision)}
        over = f"mAP over the classes that any image has ({max(known)})"
        labelled = {found.labelled for found in summary.accuracies.values() if isinstance(found, MultilabelPrecision)}
        if max(labelled) < summary.count:
            over += f", precision@1 over the images that have a label ({max(labelled)})"
        kinds = "bootstrap over images for mAP, Wilson's and Agresti and Min's for precision@1"
        return f"Intervals: 95 % ({kinds}); {over}. {costs}"
    kinds = "Wilson's; Agresti and Min's for differences"
    chance = "By chance: the ECE to be expected if every probability were exact."
    seen = len({record["truth"][0] for record in summary.records[summary.against]})
    classes = f"Class mean: of the {counted(seen, 'label')} that an image has. " if seen < len(summary.names) else ""
    return f"Intervals: 95 % ({kinds}). {classes}{chance} {costs}"


def percent(found: Interval) -> str:
    """Write a share with its interval, in per cent."""
    if math.isnan(found.value):
        return "–"
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def points(found: Interval) -> str:
    """Write a difference with its interval, in points."""
    if math.isnan(found.value):
        return "–"
    return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


WRITERS: dict[str, Callable[[Summary, bool], str]] = {"table": as_text, "json": as_json, "markdown": as_markdown}


def written(summary: Summary, form: str, confusion: bool) -> str:
    """Write a summary in a form."""
    return WRITERS[form](summary, confusion)


HEADS = {"frechet": "Fréchet distance", "kernel": "kernel distance", "precision": "precision", "recall": "recall"}


def image_quality(found: ImageQuality, table: Callable[..., str], mark: str) -> list[str]:
    """Return the parts of the text."""
    first = next(iter(found.shown.values())).quality
    heads = [HEADS[measure] for measure in first.estimates]
    rows = [[name, *_cells(shown.quality), f"{shown.seconds:.3g}"] for name, shown in found.shown.items()]
    if found.other is not None:
        rows.append(["other real images", *_cells(found.other), "–"])
    parts = [f"{mark}Generated images", _about(found.about), table(("spec", *heads, "s per image"), rows)]
    if len(found.shown) > 1:
        gaps = {name: found.differences(name) for name in found.shown if name != found.against}
        rows = [[name, *(signed(gap[measure]) for measure in first.estimates)] for name, gap in gaps.items()]
        parts += [f"{mark}Differences to {found.against}, over the same seeds", table(("spec", *heads), rows)]
    return [*parts, _image_notes(found)]


def _cells(quality: Quality) -> list[str]:
    return [plain(estimate.interval) for estimate in quality.estimates.values()]


def _about(about: Mapping[str, Any]) -> str:
    wide, high = about["size"]
    how = f"{about['sampler']}, {about['steps']} steps, guidance {about['guidance']:g}, {wide}×{high}"
    counts = f"{about['pictures']} images under each spec, {about['of_each_class']} of each class"
    return f"{counts}; {how}, batch {about['batch']}; against as many real ones, compared by {about['feature']}"


def _image_notes(found: ImageQuality) -> str:
    about = found.about
    parts = [
        "Intervals: 95 % (distances: generated images resampled, which tells of spread, not of bias; Wilson's for "
        "precision and recall); differences pair what is resampled, for recall the real images.",
        "Compare at the same feature and count only.",
    ]
    if about["left_out"]:
        parts.append(f"No Fréchet distance: it takes more images than features ({about['features']}).")
    if about["parts_kept_before"]:
        parts.append(f"{about['parts_kept_before']} of {about['parts']} parts, and their times, are of an earlier run.")
    return " ".join(parts)


def plain(found: Interval) -> str:
    """Write a measure with its interval."""
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def signed(found: Mapping[str, float]) -> str:
    """Write a difference with its interval."""
    value, low, high = (number(found[key]) for key in ("value", "low", "high"))
    return f"{'+' if found['value'] >= 0 else ''}{value} [{low}, {high}]"


def number(value: float) -> str:
    """Write three digits."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
