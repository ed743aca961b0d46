"""What a report says about generated images: sections of tables and text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bigain_cli.evaluation.generated_images import ImageQuality
from bigain_cli.evaluation.image_metrics import Quality
from bigain_cli.outputs.report_sections import ReportSection

TITLES = {"frechet": "Fréchet distance", "kernel": "kernel distance", "precision": "precision", "recall": "recall"}
DISTANCES = ("frechet", "kernel")  # the others are shares, whose intervals a narrow table leaves out


def image_quality_sections(found: ImageQuality, wide: bool) -> Iterator[ReportSection]:
    """Yield the results under each spec, and their differences to the baseline."""
    first = next(iter(found.specs.values())).quality
    heads = tuple(TITLES[measure] for measure in first.estimates)
    times = {name: [f"{own.seconds:.3g}"] if wide else [] for name, own in found.specs.items()}
    rows = [[name, *_cells(own.quality, wide), *times[name]] for name, own in found.specs.items()]
    if found.other is not None:
        rows.append(["other real images", *_cells(found.other, wide), *(["–"] if wide else [])])
    seconds = ("s per image",) if wide else ()
    yield ReportSection("Generated images", _about(found.about))
    yield ReportSection(head=("spec", *heads, *seconds), rows=rows)
    if len(found.specs) > 1:
        gaps = {name: found.differences(name) for name in found.specs if name != found.against}
        rows = [
            [name, *(_cell(measure, each, wide, "+") for measure, each in gap.items())] for name, gap in gaps.items()
        ]
        title = f"Differences to {found.against}, over the same seeds"
        yield ReportSection(title, head=("spec", *heads), rows=rows)
    yield ReportSection(text=_notes(found))


def _cells(quality: Quality, wide: bool) -> list[str]:
    return [_cell(measure, vars(each.interval), wide) for measure, each in quality.estimates.items()]


def _cell(measure: str, found: Mapping[str, float], wide: bool, sign: str = "-") -> str:
    """Return a measure with its interval; in a narrow table only a distance has one."""
    text = with_interval(found, sign)
    return text if wide or measure in DISTANCES else text.partition(" ")[0]


def _about(about: Mapping[str, Any]) -> str:
    width, height = about["size"]
    how = f"{about['sampler']}, {about['steps']} steps, guidance {about['guidance']:g}, {width}×{height}"
    counts = f"{about['pictures']} images under each spec, {about['of_each_class']} of each class"
    return f"{counts}; {how}, batch {about['batch']}; against as many real ones, compared by {about['feature']}"


def _notes(found: ImageQuality) -> str:
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
