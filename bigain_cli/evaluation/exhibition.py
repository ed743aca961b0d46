"""The quality of generated images in words: a table of measures and one of differences.

In: a Gallery; out: parts of a text. Every number stands beside the feature that it was computed from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bigain_cli.evaluation.generated_images import Gallery
from bigain_cli.evaluation.image_metrics import Quality
from bigain_cli.intervals import Interval

HEADS = {"frechet": "Fréchet distance", "kernel": "kernel distance", "precision": "precision", "recall": "recall"}


def gallery(found: Gallery, table: Callable[..., str], mark: str) -> list[str]:
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


def _image_notes(found: Gallery) -> str:
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
