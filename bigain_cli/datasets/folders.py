"""Datasets from a folder of class folders, or from a safetensors file. Opens no image."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from safetensors import safe_open

from bigain_cli.datasets.dataset import Case, Dataset
from bigain_cli.errors import UsageError, one_line
from bigain_cli.images import SUFFIXES, Source, find
from bigain_cli.json_text import read_json

if TYPE_CHECKING:
    from torch import Tensor

TENSORS = ("jpeg", "offsets", "labels")
INTEGERS = {f"torch.{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def open_image_folder(path: str) -> Dataset:
    """Open a folder of class folders, or a safetensors file."""
    if os.path.isdir(path):
        return _read_folder(path)
    if not os.path.exists(path):
        raise UsageError(path, "no such folder or file", "Give a folder of class folders, or a .safetensors file.")
    if not os.path.isfile(path):
        raise UsageError(path, "neither a folder nor a file", "Give a folder of class folders.")
    return _read_tensors(path)


def source_case(source: Source, *classes: int) -> Case:
    """Return a source as a case of these classes."""
    return Case(source.id, classes, lambda: source, source)


def _read_folder(path: str) -> Dataset:
    with os.scandir(path) as found:
        listed = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    folders = [entry.name for entry in listed if entry.is_dir()]
    if len(folders) < 2:
        why = f"one class only ({folders[0]})" if folders else "no class folders in it"
        raise UsageError(path, why, "Make a folder for each class, and put its images in it.")
    cases: list[Case] = []
    unlabelled = [f"{entry.path}: not in a class folder" for entry in listed if _is_image(entry)]
    for number, name in enumerate(folders):
        sources = list(find([os.path.join(path, name)], recursive=True))
        if len(sources) == 1 and sources[0].error is not None and sources[0].error.kind == "no-images":
            unlabelled.append(str(sources[0].error))
        else:
            cases += [source_case(source, number) for source in sources]
    return Dataset(path, tuple(folders), cases, unlabelled=tuple(unlabelled))


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.is_file() and os.path.splitext(entry.name)[1].lower() in SUFFIXES


def _read_tensors(path: str) -> Dataset:
    try:
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata() or {}, set(file.keys())
            tensors = {name: file.get_tensor(name) for name in TENSORS if name in names}
    except Exception as problem:  # the library raises what it likes for a broken file
        why = f"not a safetensors file ({one_line(problem)})"
        raise UsageError(path, why, "Give a folder of class folders instead.") from problem
    for name in TENSORS:
        if name not in tensors:
            raise UsageError(path, f"has no tensor {name}", "It needs jpeg, offsets and labels.")
    classes = _class_names(path, metadata)
    jpegs, offsets, labels = tensors.values()
    _check_tensors(path, jpegs, offsets, labels, len(classes))
    data, spans = jpegs.numpy(), zip(labels.tolist(), itertools.pairwise(offsets.tolist()), strict=True)
    cases = [
        source_case(Source(f"{path}[{i}]", data=data[start:end].tobytes()), label)
        for i, (label, (start, end)) in enumerate(spans)
    ]
    return Dataset(path, classes, cases)


def _check_tensors(path: str, jpegs: Tensor, offsets: Tensor, labels: Tensor, classes: int) -> None:
    """Refuse tensors that cannot be images and their labels."""
    for why in _problems(jpegs, offsets, labels):
        raise UsageError(path, why, "jpeg[offsets[i]:offsets[i+1]] is image i, labels[i] its class.")
    numbers = labels.double()
    for number in numbers[(numbers < 0) | (numbers >= classes)][:1].long().tolist():
        raise UsageError(path, f"label {number} has no name", f"Its metadata entry classes names {classes}.")


def _problems(jpegs: Tensor, offsets: Tensor, labels: Tensor) -> Iterator[str]:
    """Yield what is wrong; what comes later is looked at only if nothing was wrong before."""
    if str(jpegs.dtype) != "torch.uint8" or jpegs.ndim != 1:
        yield "jpeg is not one row of bytes"
    for name, row in (("offsets", offsets), ("labels", labels)):
        if str(row.dtype) not in INTEGERS or row.ndim != 1:
            yield f"{name} is not a row of integers"
    if len(offsets) != len(labels) + 1:
        yield f"{len(offsets)} offsets do not fit {len(labels)} labels"
    bounds = offsets.double()
    if bool((bounds.diff() < 0).any()):
        yield "its offsets decrease"
    if not 0 <= bounds[0] <= bounds[-1] <= len(jpegs):
        yield f"offsets leave the {len(jpegs)} bytes"


def _class_names(path: str, metadata: dict[str, str]) -> tuple[str, ...]:
    text = metadata.get("classes", "")
    try:
        names = read_json(text)
    except ValueError:
        names = text.split(",")
    names = [str(name).strip() for name in names] if isinstance(names, list) else []
    hint = "Its metadata needs an entry classes, as cat,dog."
    if len(names) < 2 or not any(names):
        raise UsageError(path, "names fewer than two classes", hint)
    if not all(names):
        raise UsageError(path, "names a class with nothing", "Each of its classes needs a name.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(path, f"names the class {twice[0]!r} twice", hint)
    return tuple(names)
