"""A summary as text, Markdown or JSON: tables of the specs' results and of their differences."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from bigain_cli.evaluation.accuracy import Accuracy, ratio
from bigain_cli.evaluation.generated_images import ImageQuality
from bigain_cli.evaluation.image_metrics import Quality
from bigain_cli.evaluation.multilabel import MultilabelDifference, MultilabelPrecision
from bigain_cli.evaluation.summary import Summary
from bigain_cli.intervals import Interval
from bigain_cli.outputs.text import aligned, counted, markdown

Table = tuple[tuple[str, ...], list[list[str]]]
COSTS = ("draws", "evals", "GFLOP/eval", "GFLOP", "s")
LAYOUTS: dict[str, tuple[Callable[..., str], str]] = {"table": (aligned, ""), "markdown": (markdown, "### ")}
MEASURE_TITLES = {
    "frechet": "Fréchet distance",
    "kernel": "kernel distance",
    "precision": "precision",
    "recall": "recall",
}


def written(summary: Summary, form: str, confusion: bool) -> str:
    """Return a summary in a form; JSON always has the confusion matrix."""
    if form == "json":
        return json.dumps(summary.to_dict(), ensure_ascii=False, indent=1)
    table, heading = LAYOUTS[form]
    parts = [_title(summary)]
    if summary.accuracies:
        results = _multilabel_results(summary) if summary.multilabel else _results(summary)
        parts += [table(*results), _notes(summary)]
    if summary.differences:
        unit = "points" if summary.multilabel else "points of top-1"
        parts += [f"{heading}Differences, in {unit}", table(*_differences(summary))]
    for spec in summary.accuracies if confusion and not summary.multilabel else ():
        parts += [f"{heading}{spec}: answers (columns) by true label", table(*_confusion(summary, spec))]
    if summary.image_quality is not None:
        parts += image_quality(summary.image_quality, table, heading)
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
    return "; ".join([*words, excluded(failed)] if failed else words)


def excluded(failed: int) -> str:
    """Return how many images failed, as a sentence's beginning."""
    return f"{counted(failed, 'image')} failed and {'was' if failed == 1 else 'were'} excluded"


def _model(about: Mapping[str, Any]) -> str:
    return f"model {about['model']} (weights {about['weights']})"


def _results(summary: Summary) -> Table:
    head = ("spec", "top-1 %", "top-5 %", "class mean %", "decided %", "of these right %", "ECE (by chance)", *COSTS)
    rows = []
    for spec, found in summary.accuracies.items():
        assert isinstance(found, Accuracy)
        right = "–" if found.decided_right is None else percent(found.decided_right)
        shares = [percent(found.top1), "–" if summary.without_top5 else percent(found.top5), percent(found.per_class)]
        ece = f"{found.ece:.3f} ({found.ece_by_chance:.3f})"
        rows.append([spec, *shares, f"{100 * found.decided.value:.1f}", right, ece, *_costs(found)])
    return head, rows


def _multilabel_results(summary: Summary) -> Table:
    head = ("spec", "mAP %", "precision@1 %", *COSTS)
    rows = []
    for spec, found in summary.accuracies.items():
        assert isinstance(found, MultilabelPrecision)
        rows.append([spec, percent(found.mean_average), percent(found.first), *_costs(found)])
    return head, rows


def _costs(found: Accuracy | MultilabelPrecision) -> list[str]:
    each = ratio(found.gflop, found.evaluations)
    gflop = ["–" if each is None else f"{each:.4g}", f"{found.gflop:.4g}"]
    return [f"{found.draws:.1f}", f"{found.evaluations:.1f}", *gflop, f"{found.seconds:.3g}"]


def _differences(summary: Summary) -> Table:
    measures = ("mAP", "precision@1") if summary.multilabel else ("points",)
    same = "same first label %" if summary.multilabel else "same answer %"
    rows = []
    for each in summary.differences:
        gaps = (each.mean_average, each.first) if isinstance(each, MultilabelDifference) else (each.interval,)
        counts = [str(each.gained), str(each.lost), f"{each.p:.2g}", percent(each.agreement)]
        rows.append([each.spec, each.against, *(percent(gap, "+") for gap in gaps), *counts])
    return ("spec", "against", *measures, "gained", "lost", "McNemar p", same), rows


def _confusion(summary: Summary, spec: str) -> Table:
    rows = [[name, *map(str, counts)] for name, counts in zip(summary.names, summary.confusion(spec), strict=True)]
    return ("", *summary.names), rows


def _notes(summary: Summary) -> str:
    """Return what the columns are, and where a spec compresses less than its name says."""
    less = [f"{spec}: {note}" for spec, notes in summary.notes.items() for note in notes]
    return " ".join([_columns(summary), *less])


def _columns(summary: Summary) -> str:
    costs = "Costs are means per image; GFLOP count two per multiply-add; seconds are shared by the images in progress."
    first = next(iter(summary.accuracies.values()))
    if isinstance(first, MultilabelPrecision):  # all specs have the same images
        over = f"mAP over the classes that any image has ({first.classes})"
        if first.labelled < summary.count:
            over += f", precision@1 over the images that have a label ({first.labelled})"
        kinds = "bootstrap over images for mAP, Wilson's and Agresti and Min's for precision@1"
        return f"Intervals: 95 % ({kinds}); {over}. {costs}"
    kinds = "Wilson's; Agresti and Min's for differences"
    chance = "By chance: the ECE expected of exact probabilities."
    seen = len({record["truth"][0] for record in summary.records[summary.against]})
    classes = f"Class mean: of the {counted(seen, 'label')} that an image has. " if seen < len(summary.names) else ""
    return f"Intervals: 95 % ({kinds}). {classes}{chance} {costs}"


def percent(found: Interval, sign: str = "-") -> str:
    """Return a share with its interval in per cent; with the sign "+" a difference in points."""
    if math.isnan(found.value):
        return "–"
    value, low, high = (f"{100 * each:{sign}.1f}" for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def image_quality(found: ImageQuality, table: Callable[..., str], heading: str) -> list[str]:
    """Return the report's parts about generated images."""
    first = next(iter(found.specs.values())).quality
    heads = [MEASURE_TITLES[measure] for measure in first.estimates]
    rows = [[name, *_cells(own.quality), f"{own.seconds:.3g}"] for name, own in found.specs.items()]
    if found.other is not None:
        rows.append(["other real images", *_cells(found.other), "–"])
    parts = [f"{heading}Generated images", _about(found.about), table(("spec", *heads, "s per image"), rows)]
    if len(found.specs) > 1:
        gaps = {name: found.differences(name) for name in found.specs if name != found.against}
        rows = [[name, *(with_interval(each, "+") for each in gap.values())] for name, gap in gaps.items()]
        parts += [f"{heading}Differences to {found.against}, over the same seeds", table(("spec", *heads), rows)]
    return [*parts, _image_notes(found)]


def _cells(quality: Quality) -> list[str]:
    return [with_interval(vars(estimate.interval)) for estimate in quality.estimates.values()]


def _about(about: Mapping[str, Any]) -> str:
    width, height = about["size"]
    how = f"{about['sampler']}, {about['steps']} steps, guidance {about['guidance']:g}, {width}×{height}"
    counts = f"{about['pictures']} images under each spec, {about['of_each_class']} of each class"
    return f"{counts}; {how}, batch {about['batch']}; against as many real ones, compared by {about['feature']}"


def _image_notes(found: ImageQuality) -> str:
    about = found.about
    parts = [
        "Intervals: 95 % (distances: generated images resampled, which shows spread, not bias; Wilson's for "
        "precision and recall); differences pair what is resampled, for recall the real images.",
        "Compare at the same feature and count only.",
    ]
    if about["left_out"]:
        parts.append(f"No Fréchet distance: it takes more images than features ({about['features']}).")
    if about["parts_kept_before"]:
        parts.append(f"{about['parts_kept_before']} of {about['parts']} parts, and their times, are of an earlier run.")
    return " ".join(parts)


def with_interval(found: Mapping[str, float], sign: str = "-") -> str:
    """Return a measure, or with the sign "+" a difference, with its interval, in three digits."""
    values = (found[key] for key in ("value", "low", "high"))
    value, low, high = (f"{each:.3g}" if abs(each) < 1000 else f"{each:.0f}" for each in values)
    return f"{'+' if sign == '+' and found['value'] >= 0 else ''}{value} [{low}, {high}]"
