"""Labelled images: cases with their true classes, from a folder, a file or a known dataset.

Images are opened when their turn comes. Must not know backbones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL.Image import Image

from bigain_cli.classification.stopping import Rules
from bigain_cli.datasets import Album, open_album
from bigain_cli.errors import InputError, UsageError, did_you_mean
from bigain_cli.images import Source
from bigain_cli.registry import DATASETS, attribute

Opened = Source | tuple[str, Image]


@dataclass(frozen=True)
class Case:
    """One image: what it is called, the numbers of its true classes, and how to get at it."""

    id: str
    truth: tuple[int, ...]
    open: Callable[[], Image | Source]

    def opened(self) -> Opened:
        """Return the image, or a source that says why there is none."""
        try:
            found = self.open()
            if isinstance(found, Image):
                _load(found)
        except (OSError, SyntaxError, ValueError) as problem:  # what decoders raise
            found = Source(self.id, error=InputError("unreadable-image", self.id, str(problem), "Check the file"))
        return found if isinstance(found, Source) else (self.id, found)


def _load(image: Image) -> None:
    """Decode an image now: some datasets leave that for later."""
    try:
        image.load()
    except BaseException:
        image.close()
        raise


def refuse_mixture(dataset: Dataset, rules: Rules) -> None:
    """Refuse several right labels where labels take different draws, or where there is none at all."""
    if not dataset.many:
        return
    if rules.schedule != "fixed":
        why = "scores of several right labels compare only if all labels take all draws"
        raise UsageError(f"--schedule {rules.schedule}", why, "Use --schedule fixed.")
    if not any(case.truth for case in dataset.cases):
        raise UsageError(f"dataset {dataset.name}", "no chosen image has a label", "Choose more, or another --seed.")


@dataclass(frozen=True)
class Dataset:
    """Cases of some classes; `preset` has a label for each class by number, where the names themselves differ."""

    name: str
    classes: tuple[str, ...]
    cases: Sequence[Case]
    preset: str = ""
    many: bool = False  # whether an image may have several classes, or none
    strays: tuple[str, ...] = ()

    def of(self, cases: Sequence[Case]) -> Dataset:
        """Return the same dataset with other cases."""
        return replace(self, cases=cases)


def open_dataset(name: str, download: bool = False) -> Dataset:
    """Open a folder of class folders, a safetensors file, or KIND:DIR of a known dataset."""
    kind, colon, folder = name.partition(":")
    if not colon or os.path.lexists(name):
        if download:
            raise UsageError("--download", f"{name} is no known dataset", f"Write KIND:DIR, as pets:{name}.")
        return _from_album(name)
    if kind not in DATASETS:
        why = f"no such folder or file, and no dataset is called {kind}"
        raise UsageError(f"dataset {name}", why, did_you_mean(kind, DATASETS))
    if not folder:
        raise UsageError(f"dataset {name}", "says no folder", f"Write {kind}:DIR.")
    entry = DATASETS[kind]
    opened: Dataset = attribute(entry.opener)(name, folder, entry, download)
    return opened


def _from_album(path: str) -> Dataset:
    album = open_album(path)
    return Dataset(path, album.classes, cases_of(album), strays=album.strays)


def cases_of(album: Album) -> list[Case]:
    """Return an album's images as cases."""
    return [_case(source, number) for source, number in album.entries]


def _case(source: Source, number: int) -> Case:
    return Case(source.id, (number,), lambda: source)
