"""Datasets from a folder of class folders, or from a safetensors file. Opens no image."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from bigain_cli.datasets.dataset import Case, Dataset
from bigain_cli.errors import UsageError
from bigain_cli.images import SUFFIXES, Source, find
from bigain_cli.json_text import read_json

if TYPE_CHECKING:
    from torch import Tensor


def open_image_folder(path: str) -> Dataset:
    """Open a folder of class folders, or a safetensors file."""
    if os.path.isdir(path):
        return _read_folder(path)
    if not os.path.exists(path):
        raise UsageError(path, "no such folder or file", "Give a folder of class folders, or a .safetensors file.")
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
    with _open_safetensors(path) as file:
        classes = _class_names(path, file.metadata() or {})
        jpegs, offsets, labels = (file.get_tensor(name) for name in ("jpeg", "offsets", "labels"))
    _check_tensors(path, jpegs, offsets, labels, len(classes))
    data, spans = jpegs.numpy(), zip(labels.tolist(), itertools.pairwise(offsets.tolist()), strict=True)
    cases = [
        source_case(Source(f"{path}[{i}]", data=data[start:end].tobytes()), label)
        for i, (label, (start, end)) in enumerate(spans)
    ]
    return Dataset(path, classes, cases)


def _open_safetensors(path: str) -> safe_open:
    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as problem:
        why = f"not a safetensors file ({problem})"
        raise UsageError(path, why, "Give a folder of class folders instead.") from problem
    missing = {"jpeg", "offsets", "labels"} - set(file.keys())
    if missing:
        raise UsageError(path, f"has no tensor {sorted(missing)[0]}", "It needs jpeg, offsets and labels.")
    return file


def _check_tensors(path: str, jpegs: Tensor, offsets: Tensor, labels: Tensor, classes: int) -> None:
    """Refuse tensors that cannot be images and their labels."""
    bounds, numbers = offsets.double(), labels.double()
    broken = (
        (str(jpegs.dtype) != "torch.uint8" or jpegs.ndim != 1, "jpeg is not one row of bytes"),
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
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(path, f"names the class {twice[0]!r} twice", hint)
    return tuple(names)
