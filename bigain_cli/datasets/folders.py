"""Labelled images: sources, each with the number of its class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from bigain_cli.errors import UsageError
from bigain_cli.images import SUFFIXES, Source, find


@dataclass(frozen=True)
class Album:
    """Its path, the names of its classes, its images in order, and the files without a class."""

    path: str
    classes: tuple[str, ...]
    entries: Sequence[tuple[Source, int]]
    strays: tuple[str, ...] = ()


def open_album(path: str) -> Album:
    """Look into a folder of class folders or a safetensors file."""
    if os.path.isdir(path):
        return _folder(path)
    if not os.path.exists(path):
        raise UsageError(path, "no such folder or file", "Give a folder of class folders, or a .safetensors file.")
    from bigain_cli.albums.tensors import read_tensors

    classes, entries = read_tensors(path)
    return Album(path, classes, entries)


def _folder(path: str) -> Album:
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
    return Album(path, tuple(folders), entries, tuple(strays))


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.is_file() and os.path.splitext(entry.name)[1].lower() in SUFFIXES
