"""Labelled images: sources, each with the number of its class."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bigain_cli.errors import UsageError
from bigain_cli.images import SUFFIXES, Source, find


@dataclass(frozen=True)
class ImageFolder:
    """Its path, the names of its classes, its images in order, and the files without a class."""

    path: str
    classes: tuple[str, ...]
    entries: Sequence[tuple[Source, int]]
    strays: tuple[str, ...] = ()


def open_image_folder(path: str) -> ImageFolder:
    """Look into a folder of class folders or a safetensors file."""
    if os.path.isdir(path):
        return _folder(path)
    if not os.path.exists(path):
        raise UsageError(path, "no such folder or file", "Give a folder of class folders, or a .safetensors file.")

    classes, entries = read_tensors(path)
    return ImageFolder(path, classes, entries)


def _folder(path: str) -> ImageFolder:
    with os.scandir(path) as found:
        seen = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    folders = [entry.name for entry in seen if entry.is_dir()]
    if len(folders) < 2:
        why = f"one class only ({folders[0]})" if folders else "no class folders in it"
        raise UsageError(path, why, "Make a folder for each class, and put its images in it.")
    entries: list[tuple[Source, int]] = []
    strays = [f"{entry.path}: not in a class folder" for entry in seen if _is_image(entry)]
    for number, name in enumerate(folders):
        inside = list(find([os.path.join(path, name)], recursive=True))
        if len(inside) == 1 and inside[0].error is not None and inside[0].error.kind == "no-images":
            strays.append(str(inside[0].error))
        else:
            entries += [(source, number) for source in inside]
    return ImageFolder(path, tuple(folders), entries, tuple(strays))


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.is_file() and os.path.splitext(entry.name)[1].lower() in SUFFIXES


def read_tensors(path: str) -> tuple[tuple[str, ...], list[tuple[Source, int]]]:
    """Return the names of the classes, and every image's bytes with its class."""
    with _opened(path) as file:
        classes = _classes(path, file.metadata() or {})
        jpegs, offsets, numbers = (file.get_tensor(name) for name in ("jpeg", "offsets", "labels"))
    _check(path, jpegs, offsets, numbers, len(classes))
    pieces = enumerate(_slices(jpegs, offsets.tolist()))
    return classes, [(Source(f"{path}[{i}]", data=data), int(numbers[i])) for i, data in pieces]


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
    """Refuse tensors that cannot be images and their labels."""
    bounds, numbers = offsets.double(), labels.double()
    broken = (
        (jpegs.dtype != torch.uint8 or jpegs.ndim != 1, "jpeg is not one row of bytes"),
        (offsets.is_floating_point() or offsets.ndim != 1 or not len(offsets), "offsets is not a row of integers"),
        (labels.is_floating_point() or labels.ndim != 1, "labels is not a row of integers"),
        (len(offsets) != len(labels) + 1, f"{len(offsets)} offsets do not fit {len(labels)} labels"),
        (bool((bounds.diff() < 0).any()), "its offsets decrease"),
        (len(bounds) and not 0 <= bounds[0] <= bounds[-1] <= len(jpegs), f"offsets leave the {len(jpegs)} bytes"),
    )
    for wrong, why in broken:
        if wrong:
            raise UsageError(path, why, "jpeg[offsets[i]:offsets[i+1]] is image i, labels[i] its class.")
    for number in numbers[(numbers < 0) | (numbers >= classes)][:1].long().tolist():
        raise UsageError(path, f"label {number} has no name", f"Its metadata entry classes names {classes}.")


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
