"""The options of `tune`, checked before a model is loaded. Must not import torch or numpy."""

from __future__ import annotations

from dataclasses import dataclass

from bigain_cli.compress import Spec
from bigain_cli.errors import UsageError
from bigain_cli.limits import check_counts
from bigain_cli.registry import BLOCK

LEAST_PER_CLASS, PER_CLASS = 5, 16
DRAWS = 32  # of a model that does not say how many pay


@dataclass(frozen=True)
class TuneOptions:
    """How many images and draws, and which templates to choose from; `keep` is a folder for recorded errors."""

    per_class: int = PER_CLASS
    draws: int | None = None  # by default the model's, or 32
    templates: tuple[str, ...] = ()
    labels: str | None = None
    seed: int = 0
    compress: str | Spec | None = None
    batch: int | None = None
    keep: str | None = None
    replace: bool = False

    def __post_init__(self) -> None:
        check_counts(draws=self.draws, per_class=self.per_class, seed=self.seed, batch=self.batch)
        if self.per_class < LEAST_PER_CLASS:
            why = f"too few images to tell what helps: it takes {LEAST_PER_CLASS} of each class"
            raise UsageError(f"--per-class {self.per_class}", why, "5 to 16 are usual.")
        if self.draws is not None and self.draws < BLOCK:
            raise UsageError(f"--draws {self.draws}", f"must be {BLOCK} at least", "32 are usual.")
        if any("{}" not in template for template in self.templates):
            raise UsageError("--template", "has no {} for the label", "Write for instance 'a photo of a {}.'.")
        if len(set(self.templates)) < len(self.templates):
            raise UsageError("--template", "one is given twice", "Give each once.")
