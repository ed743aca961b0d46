"""What a user wants `evaluate` to do, and whether it makes sense; found out before anything heavy is loaded."""

# os.path says no where pathlib raises.
from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.cli.options import FORMS, check_machine
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.generated_options import GeneratedImagesOptions
from bigain_cli.evaluation.records import RecordFile
from bigain_cli.evaluation.specs import parse_specs
from bigain_cli.outputs.files import check_target
from bigain_cli.outputs.plotting import figure_files
from bigain_cli.registry import DEFAULT_FEATURE

PAGES = {**FORMS, ".html": "html", ".htm": "html"}


@dataclass(frozen=True)
class EvaluateRequest:
    """Everything that can be chosen."""

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
    form: str
    output: str | None
    figure: str | None
    confusion: bool
    download: bool
    force: bool
    generate: GeneratedImagesOptions | None = None

    @property
    def replace(self) -> bool:
        """Tell whether what is written at the end may replace what an earlier run left."""
        return self.force or self.resume

    @property
    def figures(self) -> tuple[str, ...]:
        """Return the files to plot."""
        return () if self.figure is None else figure_files(self.figure)


def generated_images(count: int | None, force: bool, options: dict[str, Any]) -> GeneratedImagesOptions | None:
    """Return how to generate images; refuse options that do nothing without."""
    given = {name: value for name, value in options.items() if value is not None}
    if count is None:
        for name in given:
            raise UsageError(f"--{name}", "nothing is generated without --generate", "Add --generate N.")
        return None
    return GeneratedImagesOptions(count, replace=force, **{"feature": DEFAULT_FEATURE, **given})


def check(request: EvaluateRequest) -> None:
    """Refuse what contradicts itself, what cannot be written, and names that no machine has."""
    parse_specs(request.specs, request.against)
    keep = request.generate and request.generate.keep
    if keep and os.path.lexists(keep) and not (os.path.isdir(keep) and os.access(keep, os.W_OK)):
        raise UsageError(f"--keep {keep}", "is no folder that can be written to", "Name another.")
    if request.limit == 0:
        _check_nothing_to_classify(request)
    RecordFile(request.records, request.resume, request.force)
    targets = [name for name in (request.output, *request.figures) if name is not None]
    for name in targets:
        if [*targets, request.records].count(name) > 1:
            raise UsageError(name, "is named twice", "Give every file a name of its own.")
        check_target(name, request.replace, request.resume)
    check_machine(request.device, request.dtype)


def _check_nothing_to_classify(request: EvaluateRequest) -> None:
    """Refuse to classify nothing where nothing is generated either, and options that only classification needs."""
    if request.generate is None:
        raise UsageError(
            "--limit 0", "nothing is classified, and without --generate nothing generated", "Leave it out."
        )
    given = [name for name in ("records", "figure", "confusion", "per_class") if getattr(request, name)]
    given += [field.name for field in fields(StoppingRules) if getattr(request.rules, field.name) != field.default]
    for name in given:
        option = name.replace("_", "-")
        raise UsageError(f"--{option} with --limit 0", "nothing is classified", "Leave one of them out.")
