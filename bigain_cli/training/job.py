"""What `train` takes and yields: a job in, events out, each of which is also a line of text. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bigain_cli.errors import UsageError
from bigain_cli.json_text import read_json
from bigain_cli.labels.templates import fill
from bigain_cli.limits import check_counts, read_text_file
from bigain_cli.training.output_folder import checkpoint_of, foreign_file, holds_training, require_checkpoint
from bigain_cli.training.recipe import ALL, TEMPLATES, Recipe

if TYPE_CHECKING:
    from bigain_cli.training.image_tensors import LabelledImages

HELD_OUT = 0.1  # share of each class that is held out
VALIDATION = 200  # held-out images that are classified at the end


@dataclass(frozen=True)
class TrainingJob:
    """What to train on, how, and where to write it; images are the path of a folder or file, or in memory."""

    recipe: Recipe
    images: LabelledImages | Path | str  # a folder with a folder of images per class, or a safetensors file
    folder: Path | str
    held_out: LabelledImages | Path | str | float | None = HELD_OUT  # a number is a share of each class
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    templates: Sequence[str] = TEMPLATES
    source: str = ""  # what the model card calls the images
    device: str = "auto"
    every: int = 50_000  # images between checkpoints
    validation: int | None = None  # held-out images that are classified at the end; None: 200 if any are held out
    previews: bool = True  # write a grid of generated images with every checkpoint
    start: str = ""  # the name or folder of a backbone whose weights to start from

    @property
    def path(self) -> Path:
        """The path of the output folder."""
        return Path(self.folder)

    @property
    def checkpoint(self) -> Path:
        """The path of the checkpoint, which may not exist yet."""
        return checkpoint_of(self.path)

    def check(self, resume: bool = False, replace: bool = False) -> None:
        """Refuse contradictions, data that is not there, and an unsuitable output folder. Torch-free."""
        check_counts(every=self.every, validation=self.validation)
        if isinstance(self.held_out, int | float) and not 0 <= self.held_out < 1:
            why = "a share is from 0 up to, but not including, 1"
            raise UsageError(f"--held-out {self.held_out:g}", why, "0.1 is usual.")
        if self.templates != TEMPLATES and self.recipe.arch == "dit":
            raise UsageError("--template", "a transformer reads class numbers, not sentences", "Leave it out.")
        if self.validation and self.held_out in (0, None):
            raise UsageError("--validation", "no images are held out", "Leave it out.")
        if self.recipe.keep != ALL and not self.start:
            raise UsageError(f"keep {self.recipe.keep}", "has no effect: there is no model to keep from", "Add --from.")
        if resume and replace:
            raise UsageError("--resume --force", "one continues the training, the other starts again", "Choose one.")
        for template in self.templates:
            fill(template, "")
        self._check_paths()
        self._check_folder(resume, replace)

    def _check_paths(self) -> None:
        """Refuse data that is not there, and an output folder inside it."""
        if os.path.lexists(self.path) and not os.path.isdir(self.path):
            raise UsageError(str(self.path), "a file, not a folder", "Name a folder.")
        for source in (self.images, self.held_out):
            if not isinstance(source, Path | str):
                continue
            if not os.path.exists(source):
                hint = "Give a folder of class folders, or a .safetensors file."
                raise UsageError(str(source), "no such folder or file", hint)
            if os.path.isdir(source) and self.path.resolve().is_relative_to(Path(source).resolve()):
                why = f"inside {source}, where it would count as a class"
                raise UsageError(str(self.path), why, "Name a folder elsewhere.")

    def _check_folder(self, resume: bool, replace: bool) -> None:
        """Refuse a folder without a checkpoint to resume, or with other things in it."""
        folder = self.path
        if resume:
            require_checkpoint(folder)
        elif folder.is_dir() and holds_training(folder):
            if not replace:
                hint = "--resume to continue, --force to start again."
                raise UsageError(str(folder), "holds a backbone already", hint)
        elif folder.is_dir() and (other := foreign_file(folder)):
            raise UsageError(str(folder), f"holds other things ({other}, …)", "Name a new folder.")


@dataclass(frozen=True)
class ImagesLoaded:
    """Images were read, and others were skipped."""

    source: str
    images: int
    classes: int
    skipped: tuple[str, ...]  # the reason for each
    seconds: float

    def __str__(self) -> str:
        skipped = f"; {len(self.skipped)} skipped, the first: {self.skipped[0]}" if self.skipped else ""
        return f"{self.source}: {self.images} images of {self.classes} classes, read in {self.seconds:.0f} s{skipped}"


@dataclass(frozen=True)
class ImagesHeldOut:
    """Images were held out for validation."""

    images: int

    def __str__(self) -> str:
        return f"{self.images} images held out" if self.images else "none held out: no class has two different images"


@dataclass(frozen=True)
class TrainingWarning:
    """A setting may not do what was meant."""

    text: str

    def __str__(self) -> str:
        return f"warning: {self.text}"


@dataclass(frozen=True)
class TrainingResumed:
    """A checkpoint was loaded."""

    images: int
    of: int

    def __str__(self) -> str:
        return f"continuing after {self.images} of {self.of} images"


@dataclass(frozen=True)
class TrainingProgress:
    """How far the training is, with the means of its losses since the last report; 0: not computed."""

    stage: ClassVar = "training"
    images: int
    of: int
    error: float
    contrast: float
    classifier: float
    rate: float
    pace: float  # images per second since the last report

    def losses(self) -> dict[str, float]:
        """Return the losses that were computed, by name."""
        losses = {"error": self.error, "contrast": self.contrast, "classifier": self.classifier}
        return {name: loss for name, loss in losses.items() if loss}

    def __str__(self) -> str:
        computed = "".join(f"{name} {loss:.4f}, " for name, loss in self.losses().items())
        return f"{computed}rate {self.rate:.1e}, {self.pace:.0f} images/s"


@dataclass(frozen=True)
class ValidationProgress:
    """How many of the held-out images have been classified."""

    stage: ClassVar = "validation"
    images: int
    of: int

    def __str__(self) -> str:
        return ""


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint was written, and with previews a grid of generated images."""

    images: int
    grid: str

    def __str__(self) -> str:
        return f"checkpoint at {self.images} images" + (f", {self.grid}" if self.grid else "")


@dataclass(frozen=True)
class TrainingDone:
    """The training has ended."""

    folder: str
    seconds: float
    accuracy: str | None
    prompt: str  # for an image of the first class

    def __str__(self) -> str:
        return f"trained in {self.seconds / 60:.1f} minutes" + (f"; {self.accuracy}" if self.accuracy else "")


Event = (
    ImagesLoaded
    | ImagesHeldOut
    | TrainingWarning
    | TrainingResumed
    | TrainingProgress
    | ValidationProgress
    | CheckpointSaved
    | TrainingDone
)


def read_synonyms(path: str) -> dict[str, list[str]]:
    """Read other names of classes from a JSON file."""
    hint = 'Write {"automobile": ["car"]}.'
    try:
        content = read_json(read_text_file(path, f"--synonyms {path}").decode("utf-8-sig"))
    except FileNotFoundError as problem:
        raise UsageError(f"--synonyms {path}", "no such file", hint) from problem
    except (OSError, ValueError) as problem:
        raise UsageError(f"--synonyms {path}", f"cannot be read ({problem})", hint) from problem
    if not isinstance(content, dict) or not all(map(_is_names, content.values())):
        raise UsageError(f"--synonyms {path}", "not a table of lists of names", hint)
    return content


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name.strip() for name in value)
