"""How images are generated under every spec, and how they are compared; checked on construction. Torch-free."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bigain_cli.errors import UsageError
from bigain_cli.generation.options import GenerationOptions
from bigain_cli.limits import check_counts
from bigain_cli.registry import DEFAULT_FEATURE, FEATURES, entry

if TYPE_CHECKING:
    from bigain_cli.datasets.dataset import Dataset

FEWEST = 4  # images in all: one and its three neighbours


@dataclass(frozen=True)
class GeneratedImagesOptions:
    """How many images, the same number of each class, and how; None means the model's default."""

    count: int
    feature: str = DEFAULT_FEATURE
    sampler: str | None = None
    steps: int | None = None
    guidance: float | None = None
    keep: str | None = None  # a folder for grids and features, from which a later run continues
    replace: bool = False  # whether files there that were made with other settings may be replaced

    def __post_init__(self) -> None:
        check_counts(generate=self.count)
        if self.count < 1:
            raise UsageError(f"--generate {self.count}", "must be at least 1", "About 2,000 are enough to compare.")
        entry("feature", self.feature, FEATURES)
        self.generation_options("none", 0)

    def generation_options(self, spec: str, seed: int, batch: int | None = None) -> GenerationOptions:
        """Return the options for generating under a spec."""
        return GenerationOptions(self.sampler, self.steps, self.guidance, seed=seed, compress=spec, batch=batch)


def check_generation(options: GeneratedImagesOptions | None, dataset: Dataset) -> None:
    """Refuse to generate more images than there are real ones to compare them with."""
    if options is not None:
        images_per_class(options, dataset)


def images_per_class(options: GeneratedImagesOptions, dataset: Dataset) -> int:
    """Return how many images of each class are generated; refuse more than there are real ones."""
    what, classes = f"--generate {options.count}", len(dataset.classes)
    if dataset.multilabel:
        raise UsageError("--generate", "images of this dataset have several classes", "Leave it out.")
    least = -(-FEWEST // classes)
    if options.count < least * classes:
        why = f"the {classes} classes take at least {least} each"
        raise UsageError(what, why, f"Begin with --generate {least * classes}.")
    each, counts = options.count // classes, Counter(case.truth[0] for case in dataset.cases)
    number = min(range(classes), key=lambda number: counts[number])
    if each > counts[number]:
        why = f"as many real images of each class are needed, and {dataset.classes[number]} has {counts[number]}"
        most = classes * counts[number]
        hint = f"At most {most} are possible." if most >= FEWEST else "Add images to it."
        raise UsageError(what, why, hint)
    return each
