"""Labelled pictures in memory: a folder of class folders, or a safetensors file; small, square, eight bits a channel.

What cannot be read is counted and left out. Must not know networks.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bigain_cli.errors import InputError, UsageError
from bigain_cli.images import Source, find, read

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

    def image(self, number: int) -> Image.Image:
        """Return one as a picture."""
        return Image.fromarray(self.pixels[number].permute(1, 2, 0).numpy())


def load_pictures(path: str, size: int, notice: Callable[[int], None] = lambda done: None) -> Pictures:
    """Read a folder of class folders or a safetensors file."""
    if os.path.isdir(path):
        return _from_folder(path, size, notice)
    if not os.path.exists(path):
        raise UsageError(path, "no such folder or file", "Give a folder of class folders, or a .safetensors file.")
    return _from_file(path, size, notice)


def split(pictures: Pictures, share: float, seed: int) -> tuple[Pictures, Pictures]:
    """Set a share of every class aside, at least one picture of each, drawn by the seed."""
    generator = torch.Generator().manual_seed((seed * 2 + 1) ^ SEPARATE & (2**63 - 1))
    kept, aside = [], []
    for label in range(len(pictures.classes)):
        members = torch.nonzero(pictures.labels == label)[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        count = min(max(1, round(share * len(members))), len(members) - 1) if len(members) > 1 else 0
        aside.append(members[:count])
        kept.append(members[count:])
    return pictures.take(torch.cat(kept).sort().values), pictures.take(torch.cat(aside).sort().values)


def _from_folder(path: str, size: int, notice: Callable[[int], None]) -> Pictures:
    folders = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))
    if len(folders) < 2:
        why = f"one class only ({folders[0]})" if folders else "no class folders in it"
        raise UsageError(path, why, "Make a folder for each class, and put its pictures in it.")
    pixels: list[Tensor] = []
    labels: list[int] = []
    skipped: list[str] = []
    for number, name in enumerate(folders):
        before = len(pixels)
        for source in find([os.path.join(path, name)], recursive=True):
            try:
                pixels.append(_small(read(source), size))
                labels.append(number)
            except InputError as problem:
                skipped.append(str(problem))
            notice(len(pixels))
        if len(pixels) == before:
            reason = f" ({skipped[-1]})" if skipped else ""
            raise UsageError(
                os.path.join(path, name), f"no readable picture for this class{reason}", "Remove or fill it."
            )
    return Pictures(torch.stack(pixels), torch.tensor(labels), tuple(folders), tuple(skipped))


def _from_file(path: str, size: int, notice: Callable[[int], None]) -> Pictures:
    pixels: list[Tensor] = []
    labels: list[int] = []
    skipped: list[str] = []
    with _opened(path) as file:
        classes = _classes(path, file.metadata() or {})
        jpegs, offsets, marks = (file.get_tensor(name) for name in ("jpeg", "offsets", "labels"))
        if len(offsets) != len(marks) + 1 or int(offsets[-1]) > len(jpegs):
            raise UsageError(path, "its tensors do not fit each other", "jpeg[offsets[i]:offsets[i+1]] is picture i.")
        if len(marks) and int(marks.max()) >= len(classes):
            raise UsageError(path, f"label {int(marks.max())} has no name", "Complete the metadata entry classes.")
        for number, data in enumerate(_slices(jpegs, offsets.tolist())):
            try:
                pixels.append(_small(read(Source(f"{path}[{number}]", data=data)), size))
                labels.append(int(marks[number]))
            except InputError as problem:
                skipped.append(str(problem))
            notice(len(pixels))
    for number in set(range(len(classes))) - set(labels):
        raise UsageError(path, f"no readable picture for class {classes[number]}", "Remove the class or add pictures.")
    return Pictures(torch.stack(pixels), torch.tensor(labels), classes, tuple(skipped))


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


def _classes(path: str, metadata: dict[str, str]) -> tuple[str, ...]:
    text = metadata.get("classes", "")
    try:
        names = json.loads(text)
    except ValueError:
        names = [name.strip() for name in text.split(",") if name.strip()]
    if not isinstance(names, list) or len(names) < 2:
        raise UsageError(path, "names fewer than two classes", "Its metadata needs an entry classes, as cat,dog.")
    return tuple(str(name) for name in names)


def _slices(data: Tensor, offsets: Sequence[int]) -> Iterator[bytes]:
    array = data.numpy()
    for begin, end in itertools.pairwise(offsets):
        yield array[begin:end].tobytes()


def _small(image: Image.Image, size: int) -> Tensor:
    """Return the largest central square, resized."""  # [3 s s] uint8
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
