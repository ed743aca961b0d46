"""The options of `evaluate`, with contradictions refused. Must not load anything heavy."""

# os.path answers False where pathlib raises an error.
from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

from bigain_cli.classification.ranking import check_min_probability
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.cli.options import SUMMARY_SUFFIXES, check_machine, check_wide
from bigain_cli.compress.spec import parse_specs
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.generated_image_options import GeneratedImagesOptions
from bigain_cli.evaluation.records import RecordFile
from bigain_cli.outputs.plotting import RISK_COVERAGE, figure_files, file_beside
from bigain_cli.outputs.whole_files import check_target
from bigain_cli.registry import DEFAULT_FEATURE
from bigain_cli.shortlist.tree_files import check_choice

SUFFIXES = {**SUMMARY_SUFFIXES, ".html": "html", ".htm": "html"}


@dataclass(frozen=True)
class EvaluateRequest:
    """Every option."""

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
    rules: StoppingRules
    seed: int
    batch: int | None
    records: str | None
    resume: bool
    format: str
    output: str | None
    figure: str | None
    confusion: bool
    download: bool
    force: bool
    min_probability: float | None
    wide: bool
    generate: GeneratedImagesOptions | None = None
    cache: bool = True
    shortlist: str | None = None
    tree: str | None = None

    @property
    def replace(self) -> bool:
        """Whether the files written at the end may replace those of an earlier run."""
        return self.force or self.resume

    @property
    def figures(self) -> tuple[str, ...]:
        """The files to plot."""
        return () if self.figure is None else figure_files(self.figure)

    @property
    def is_wide(self) -> bool:
        """Whether tables have all columns: on request, and in a text file."""
        return self.wide or (self.output is not None and self.format != "html")

    def check(self, over_shards: bool = False) -> None:
        """Refuse contradictions, files that cannot be written, and unknown devices and dtypes."""
        parse_specs(self.specs, self.against)
        keep = self.generate and self.generate.keep
        if keep and os.path.lexists(keep) and not (os.path.isdir(keep) and os.access(keep, os.W_OK)):
            raise UsageError(f"--keep {keep}", "not a folder that can be written to", "Name another.")
        if self.limit == 0:
            self._check_without_images()
        if not over_shards:
            RecordFile(self.records, self.resume, self.force)
        beside = [file_beside(name, RISK_COVERAGE) for name in self.figures]
        targets = [name for name in (self.output, *self.figures, *beside) if name is not None]
        for name in targets:
            if [*targets, self.records].count(name) > 1:
                raise UsageError(name, "is named twice", "Name different files.")
            check_target(name, self.replace or over_shards, self.resume)
        check_choice(self.shortlist, self.tree)
        check_machine(self.device, self.dtype)
        check_min_probability(self.min_probability)
        check_wide(self.wide, self.format)

    def _check_without_images(self) -> None:
        """Refuse --limit 0 without --generate, and with options that only classification needs."""
        if self.generate is None:
            raise UsageError(
                "--limit 0", "nothing is classified, and without --generate nothing generated", "Leave it out."
            )
        names = ("records", "figure", "confusion", "per_class", "min_probability", "shortlist", "tree")
        given = [name for name in names if getattr(self, name)]
        given += [field.name for field in fields(StoppingRules) if getattr(self.rules, field.name) != field.default]
        for name in given:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} with --limit 0", "nothing is classified", "Leave one of them out.")


def generated_images(count: int | None, force: bool, options: dict[str, Any]) -> GeneratedImagesOptions | None:
    """Return how to generate images; refuse options that do nothing without --generate."""
    given = {name: value for name, value in options.items() if value is not None}
    if count is None:
        for name in given:
            raise UsageError(f"--{name}", "nothing is generated without --generate", "Add --generate N.")
        return None
    return GeneratedImagesOptions(count, replace=force, **{"feature": DEFAULT_FEATURE, **given})
