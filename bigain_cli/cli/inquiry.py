"""What a user asked `evaluate` for, and whether it makes sense; found out before anything heavy is loaded."""

# os.path says no where pathlib raises.
from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import PurePath

from bigain_cli.cli.options import FORMS, check_machine
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.drawing import Drawing, drawable
from bigain_cli.evaluation.specs import compared
from bigain_cli.outputs.files import IN_PLACE, check_target
from bigain_cli.outputs.plotting import require_plotting
from bigain_cli.rules import Rules

PAGES = {**FORMS, ".html": "html", ".htm": "html"}
DRAWN = (".png", ".svg")
NOT_DRAWN = (".pdf", ".jpg", ".jpeg", ".gif", ".webp", ".eps", ".ps", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Inquiry:
    """Everything the user asked for."""

    dataset: str
    specs: tuple[str, ...]
    against: str | None
    labels: str | None
    templates: tuple[str, ...]
    model: str
    device: str
    dtype: str
    limit: int | None
    per_class: int | None
    rules: Rules
    seed: int
    batch: int | None
    records: str | None
    resume: bool
    form: str
    output: str | None
    figure: str | None
    confusion: bool
    download: bool
    force: bool
    drawing: Drawing | None = None

    @property
    def replace(self) -> bool:
        """Tell whether what is written at the end may replace what an earlier run left."""
        return self.force or self.resume

    @property
    def figures(self) -> tuple[str, ...]:
        """Return the files to draw."""
        if self.figure is None:
            return ()
        named = PurePath(self.figure).suffix.lower() in DRAWN
        return (self.figure,) if named else tuple(self.figure + suffix for suffix in DRAWN)


def check(inquiry: Inquiry) -> None:
    """Refuse what contradicts itself, what cannot be written, and names that no machine has."""
    specs = compared(inquiry.specs, inquiry.against, inquiry.rules)
    if inquiry.drawing is not None:
        drawable(dict(zip(inquiry.specs, specs, strict=True)))
        _check_folder(inquiry.drawing.keep)
    _check_limit(inquiry)
    _check_records(inquiry)
    names = [name for name in (inquiry.records, inquiry.output, *inquiry.figures) if name is not None]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(name, "is asked for twice", "Give every file a name of its own.")
        check_target(name, inquiry.replace, inquiry.resume)
    if inquiry.figure is not None:
        if not PurePath(inquiry.figure).name:
            raise UsageError(f"--figure {inquiry.figure!r}", "names no file", "Write --figure chart.png.")
        if PurePath(inquiry.figure).suffix.lower() in NOT_DRAWN:
            raise UsageError(f"--figure {inquiry.figure}", "is drawn as PNG or SVG only", "Write --figure chart.svg.")
        require_plotting("--figure")
    check_machine(inquiry.device, inquiry.dtype)


def _check_limit(inquiry: Inquiry) -> None:
    """Refuse to ask nothing where nothing is drawn either, and options that only answers need."""
    if inquiry.limit != 0:
        return
    if inquiry.drawing is None:
        raise UsageError("--limit 0", "nothing is asked, and without --generate nothing drawn", "Leave it out.")
    given = {
        "records": inquiry.records is not None,
        "figure": inquiry.figure is not None,
        "confusion": inquiry.confusion,
        "per-class": inquiry.per_class is not None,
        **{field.name: getattr(inquiry.rules, field.name) != field.default for field in fields(Rules)},
    }
    for name, there in given.items():
        if there:
            raise UsageError(f"--{name} with --limit 0", "nothing is asked", "Leave one of them out.")


def _check_folder(keep: str | None) -> None:
    if keep is not None and os.path.lexists(keep) and not (os.path.isdir(keep) and os.access(keep, os.W_OK)):
        raise UsageError(f"--keep {keep}", "is no folder that can be written to", "Name another.")


def _check_records(inquiry: Inquiry) -> None:
    if inquiry.records is None:
        if inquiry.resume:
            raise UsageError("--resume", "goes on with records, and none are named", "Add --records FILE.jsonl.")
        return
    if PurePath(inquiry.records).suffix.lower() not in IN_PLACE:
        raise UsageError(f"--records {inquiry.records}", "grows line by line", "Name a .jsonl file.")
    if inquiry.resume and inquiry.force:
        raise UsageError("--resume --force", "one keeps the records, the other replaces them", "Choose one.")
