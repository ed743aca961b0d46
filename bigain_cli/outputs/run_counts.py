"""How the images of a run came out: counts, and the sentence that ends a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bigain_cli.classification.ranking import UNSURE, Failure, Ranking
from bigain_cli.outputs.text import counted, spoken_time


@dataclass
class RunCounts:
    """How the images of a run came out."""

    settled: int = 0
    open: int = 0
    failed: int = 0
    unsure: int = 0

    @property
    def images(self) -> int:
        """All of them."""
        return self.settled + self.open + self.failed

    def add(self, outcome: Ranking | Failure) -> None:
        """Count a finished image."""
        if isinstance(outcome, Failure):
            self.failed += 1
            return
        self.settled += outcome.settled
        self.open += not outcome.settled
        self.unsure += outcome.answer == UNSURE != outcome.label

    def add_record(self, record: Mapping[str, Any]) -> None:
        """Count a finished image by its record."""
        if "error" in record:
            self.failed += 1
            return
        settled = bool(record.get("settled"))
        self.settled += settled
        self.open += not settled
        self.unsure += record.get("answer") == UNSURE != record.get("label")

    def __iadd__(self, other: RunCounts) -> RunCounts:
        self.settled += other.settled
        self.open += other.open
        self.failed += other.failed
        self.unsure += other.unsure
        return self

    def __sub__(self, other: RunCounts) -> RunCounts:
        return RunCounts(
            self.settled - other.settled, self.open - other.open, self.failed - other.failed, self.unsure - other.unsure
        )

    def sentence(
        self, seconds: float, min_probability: float | None, earlier: int, target: str, unit: str = "image"
    ) -> str:
        """Return what the run has done, without those of an `earlier` run; a unit is what has a record."""
        counts = f"{self.settled} settled, {self.open} open, {self.failed} failed"
        unsure = "" if min_probability is None else f", {self.unsure} {UNSURE} below {min_probability:g}"
        before = f"; {earlier} recorded earlier" if earlier else ""
        where = f" → {target}" if target else ""
        return f"{counted(self.images, unit)}: {counts}{unsure} in {spoken_time(seconds)}{before}{where}"
