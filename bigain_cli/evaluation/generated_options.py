"""How images are generated under every spec, and what they are compared by; checked on construction. Torch-free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bigain_cli.errors import UsageError
from bigain_cli.generation.options import GenerationOptions
from bigain_cli.registry import DEFAULT_FEATURE, FEATURES, entry

FEWEST = 4  # images in all: one and its three neighbours


@dataclass(frozen=True)
class GeneratedImagesOptions:
    """So many images, the same number of each class; None leaves a choice to the model."""

    count: int
    feature: str = DEFAULT_FEATURE
    sampler: str | None = None
    steps: int | None = None
    guidance: float | None = None
    keep: str | None = None  # a folder for grids and generated images, to continue with
    replace: bool = False  # whether what was made with other settings may be replaced there

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"--generate {self.count}", "must be at least 1", "About 2,000 are enough to compare.")
        entry("feature", self.feature, FEATURES)
        self.wish("none", 0)

    def wish(self, spec: str, seed: int, batch: int | None = None) -> GenerationOptions:
        """Return how to generate under a spec."""
        return GenerationOptions(self.sampler, self.steps, self.guidance, seed=seed, compress=spec, batch=batch)


class _Labelled(Protocol):
    @property
    def truth(self) -> tuple[int, ...]: ...


class _Cases(Protocol):
    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def cases(self) -> Sequence[_Labelled]: ...

    @property
    def multilabel(self) -> bool: ...


def share_of(drawing: GeneratedImagesOptions, dataset: _Cases) -> int:
    """Return how many images of each class are generated: no more than there are real ones."""
    what, classes = f"--generate {drawing.count}", len(dataset.classes)
    if dataset.multilabel:
        raise UsageError("--generate", "images of this dataset have several classes", "Leave it out.")
    least = -(-FEWEST // classes)
    if drawing.count < least * classes:
        why = f"the {classes} classes take at least {least} each"
        raise UsageError(what, why, f"Begin with --generate {least * classes}.")
    share, counts = drawing.count // classes, Counter(case.truth[0] for case in dataset.cases)
    number = min(range(classes), key=lambda number: counts[number])
    if share > counts[number]:
        why = f"as many real images of each class are needed, and {dataset.classes[number]} has {counts[number]}"
        most = classes * counts[number]
        hint = f"At most {most} are possible." if most >= FEWEST else "Add images to it."
        raise UsageError(what, why, hint)
    return share
