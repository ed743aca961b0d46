"""Labelled pictures in memory: a folder of class folders, or a safetensors file; small, square, eight bits a channel.

What cannot be read is counted and left out. Must not know networks.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bigain_cli.errors import InputError, UsageError
from bigain_cli.images import SUFFIXES, Source, find, read

SEPARATE = 0x9E3779B97F4A7C15  # sets the split's random numbers apart from all others


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size with their classes, and why others were left out."""

    pixels: Tensor  # [n 3 s s] uint8
    labels: Tensor  # [n] int64
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Pictures:
        """Return some of them."""
        return Pictures(self.pixels[index], self.labels[index], self.classes)

    def named_as(self, classes: tuple[str, ...]) -> Pictures:
        """Return the same pictures, labelled by their classes' places among others; refuse a strange class."""
        strange = [name for name in self.classes if name not in classes]
        if strange:
            why = f"{strange[0]!r} is no class of the training data"
            raise UsageError("--held-out", why, f"Its classes are: {', '.join(classes)}.")
        places = torch.tensor([classes.index(name) for name in self.classes])
        return Pictures(self.pixels, places[self.labels], classes, self.skipped)

    def image(self, number: int) -> Image.Image:
        """Return one as a picture."""
        return Image.fromarray(self.pixels[number].permute(1, 2, 0).numpy())


def load_pictures(path: str, size: int) -> Pictures:
    """Read a folder of class folders or a safetensors file."""
    if os.path.isdir(path):
        return _from_folder(path, size)
    if not os.path.exists(path):
        raise UsageError(path, "no such folder or file", "Give a folder of class folders, or a .safetensors file.")
    return _from_file(path, size)


def split(pictures: Pictures, share: float, seed: int) -> tuple[Pictures, Pictures]:
    """Set a share of every class aside, at least one picture of each, drawn by the seed."""
    generator = torch.Generator().manual_seed(((seed * 2 + 1) ^ SEPARATE) & (2**63 - 1))
    kept, aside = [], []
    for label in range(len(pictures.classes)):
        members = torch.nonzero(pictures.labels == label)[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        count = min(max(1, round(share * len(members))), len(members) - 1) if len(members) > 1 else 0
        aside.append(members[:count])
        kept.append(members[count:])
    return pictures.take(torch.cat(kept).sort().values), pictures.take(torch.cat(aside).sort().values)


def _from_folder(path: str, size: int) -> Pictures:
    with os.scandir(path) as entries:
        seen = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    folders = [entry.name for entry in seen if entry.is_dir()]
    if len(folders) < 2:
        why = f"one class only ({folders[0]})" if folders else "no class folders in it"
        raise UsageError(path, why, "Make a folder for each class, and put its pictures in it.")
    reading = _Reading(size)
    reading.skipped += [f"{entry.path}: in no class folder" for entry in seen if _is_picture(entry)]
    for number, name in enumerate(folders):
        for source in find([os.path.join(path, name)], recursive=True):
            reading.take(source, number)
        if number not in reading.labels[-1:]:
            reason = f" ({reading.skipped[-1]})" if reading.skipped else ""
            why = f"no readable picture for this class{reason}"
            raise UsageError(os.path.join(path, name), why, "Remove or fill it.")
    return reading.pictures(tuple(folders))


def _is_picture(entry: os.DirEntry[str]) -> bool:
    return entry.is_file() and os.path.splitext(entry.name)[1].lower() in SUFFIXES


def _from_file(path: str, size: int) -> Pictures:
    with _opened(path) as file:
        classes = _classes(path, file.metadata() or {})
        jpegs, offsets, marks = (file.get_tensor(name) for name in ("jpeg", "offsets", "labels"))
    _check(path, jpegs, offsets, marks, len(classes))
    reading = _Reading(size)
    for number, data in enumerate(_slices(jpegs, offsets.tolist())):
        reading.take(Source(f"{path}[{number}]", data=data), int(marks[number]))
    for number in sorted(set(range(len(classes))) - set(reading.labels)):
        raise UsageError(path, f"no readable picture for class {classes[number]}", "Remove the class or add pictures.")
    return reading.pictures(classes)


class _Reading:
    """What has been read so far, and what could not be."""

    def __init__(self, size: int) -> None:
        self._size, self._pixels = size, list[Tensor]()
        self.labels: list[int] = []
        self.skipped: list[str] = []

    def take(self, source: Source, label: int) -> None:
        try:
            self._pixels.append(_small(read(source), self._size))
            self.labels.append(label)
        except InputError as problem:
            self.skipped.append(str(problem))

    def pictures(self, classes: tuple[str, ...]) -> Pictures:
        return Pictures(torch.stack(self._pixels), torch.tensor(self.labels), classes, tuple(self.skipped))


def _opened(path: str) -> safe_open:
    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as problem:
        raise UsageError(
            path, f"not a safetensors file ({problem})", "Give a folder of class folders instead."
        ) from problem
    missing = {"jpeg", "offsets", "labels"} - set(file.keys())
    if missing:
        raise UsageError(path, f"has no tensor {sorted(missing)[0]}", "It needs jpeg, offsets and labels.")
    return file


def _check(path: str, jpegs: Tensor, offsets: Tensor, labels: Tensor, classes: int) -> None:
    """Refuse tensors that cannot be pictures and their labels."""
    bounds, marks = offsets.double(), labels.double()
    broken = (
        (jpegs.dtype != torch.uint8 or jpegs.ndim != 1, "jpeg is not one row of bytes"),
        (offsets.is_floating_point() or offsets.ndim != 1 or not len(offsets), "offsets is not a row of integers"),
        (labels.is_floating_point() or labels.ndim != 1, "labels is not a row of integers"),
        (len(offsets) != len(labels) + 1, f"{len(offsets)} offsets do not fit {len(labels)} labels"),
        (bool((bounds.diff() < 0).any()), "its offsets do not rise"),
        (len(bounds) and not 0 <= bounds[0] <= bounds[-1] <= len(jpegs), f"offsets leave the {len(jpegs)} bytes"),
    )
    for wrong, why in broken:
        if wrong:
            raise UsageError(path, why, "jpeg[offsets[i]:offsets[i+1]] is picture i, labels[i] its class.")
    for mark in marks[(marks < 0) | (marks >= classes)][:1].long().tolist():
        raise UsageError(path, f"label {mark} has no name", f"Its metadata entry classes names {classes}.")


def _classes(path: str, metadata: dict[str, str]) -> tuple[str, ...]:
    text = metadata.get("classes", "")
    try:
        names = json.loads(text)
    except ValueError:
        names = text.split(",")
    names = [str(name).strip() for name in names] if isinstance(names, list) else []
    names = names if any(names) else []
    hint = "Its metadata needs an entry classes, as cat,dog."
    if len(names) < 2:
        raise UsageError(path, "names fewer than two classes", hint)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(path, f"names the class {twice[0]!r} twice", hint)
    return tuple(names)


def _slices(data: Tensor, offsets: Sequence[int]) -> Iterator[bytes]:
    array = data.numpy()
    for begin, end in itertools.pairwise(offsets):
        yield array[begin:end].tobytes()


def _small(image: Image.Image, size: int) -> Tensor:
    """Return the largest central square, resized."""  # [3 s s] uint8
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
