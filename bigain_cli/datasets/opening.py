"""`open_dataset`: a path or KIND:DIR of a known dataset in, a Dataset out; downloaded first if that is requested.

Known datasets are read by torchvision, as ImageNet's class folders, or from COCO's annotations.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bigain_cli.datasets.dataset import Case, Dataset
from bigain_cli.datasets.folders import open_image_folder, source_case
from bigain_cli.datasets.known_datasets import DATASETS, DatasetInfo
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.images import Source
from bigain_cli.json_text import read_json
from bigain_cli.near_names import did_you_mean
from bigain_cli.registry import attribute

ANNOTATIONS, IMAGES = "annotations/instances_val2017.json", "val2017"  # of COCO
ADD_DOWNLOAD = "Add --download to fetch it there."
UNPACK = "Unpack val2017.zip and annotations_trainval2017.zip there (cocodataset.org)."


def open_dataset(name: str, download: bool = False) -> Dataset:
    """Open a folder of class folders, a safetensors file, or KIND:DIR of a known dataset."""
    kind, colon, folder = name.partition(":")
    if not colon or os.path.lexists(name):
        if download:
            raise UsageError("--download", f"{name} is no known dataset", f"Write KIND:DIR, as pets:{name}.")
        return open_image_folder(name)
    if kind not in DATASETS:
        why = f"no such folder or file, and no dataset is called {kind}"
        raise UsageError(f"dataset {name}", why, did_you_mean(kind, DATASETS))
    if not folder:
        raise UsageError(f"dataset {name}", "names no folder", f"Write {kind}:DIR.")
    entry = DATASETS[kind]
    opened: Dataset = attribute(entry.opener)(name, folder, entry, download)
    return replace(opened, preset=kind)


def open_torchvision(name: str, folder: str, entry: DatasetInfo, download: bool) -> Dataset:
    """Open a dataset by its class in torchvision."""
    if not download and not os.path.isdir(folder):
        raise UsageError(f"dataset {name}", f"no folder {folder}", ADD_DOWNLOAD)
    found = _make_torchvision(name, folder, entry, download)
    truths = [int(number) for number in getattr(found, entry.targets)]
    cases = [Case(f"{name}[{number}]", (truth,), _opener(found, number)) for number, truth in enumerate(truths)]
    return Dataset(name, tuple(getattr(found, entry.names)), cases)


def open_wordnet(name: str, folder: str, entry: DatasetInfo, download: bool) -> Dataset:
    """Open ImageNet as a folder of class folders named n01440764 …, in the order of these names."""
    if download:
        raise UsageError(f"--download {name}", "ImageNet is not free to fetch", "See image-net.org.")
    inner = os.path.join(folder, "val")
    root = inner if os.path.isdir(inner) else folder
    found = open_image_folder(root)
    if len(found.classes) != entry.classes or not all(each[:1] == "n" and each[1:].isdigit() for each in found.classes):
        why = f"{root} has {len(found.classes)} class folders; wanted are {entry.classes}, named as n01440764"
        raise UsageError(f"dataset {name}", why, "Unpack the validation images into a folder for each class.")
    return replace(found, name=name)


def _make_torchvision(name: str, folder: str, entry: DatasetInfo, download: bool) -> Any:
    if entry.needs and importlib.util.find_spec(entry.needs) is None:
        why = f"torchvision reads it with {entry.needs}, which is not installed"
        raise UsageError(f"dataset {name}", why, f"pip install {entry.needs}")
    try:
        return attribute(f"torchvision.datasets:{entry.torchvision}")(folder, download=download, **entry.options)
    except Exception as problem:  # torchvision raises what it likes for files that are not its own
        why = str(problem).split(chr(10))[0] or type(problem).__name__
        if download:
            raise BigainError(f"dataset {name}", f"could not be fetched ({why})", "Check the network.") from problem
        raise UsageError(f"dataset {name}", f"not found in {folder} ({why})", ADD_DOWNLOAD) from problem


def _opener(found: Any, number: int) -> Callable[[], Any]:
    return lambda: found[number][0]


def open_coco(name: str, folder: str, entry: DatasetInfo, download: bool) -> Dataset:
    """Read the annotations of COCO; crowds count, too."""
    if download:
        raise UsageError(f"--download {name}", "COCO is fetched by hand", UNPACK)
    path = os.path.join(folder, ANNOTATIONS)
    try:
        document = read_json(Path(path).read_bytes())
        categories = sorted(document["categories"], key=lambda category: category["id"])
        numbers = {category["id"]: number for number, category in enumerate(categories)}
        names = tuple(category["name"] for category in categories)
        truth: dict[int, set[int]] = {image["id"]: set() for image in document["images"]}
        for annotation in document["annotations"]:
            truth[annotation["image_id"]].add(numbers[annotation["category_id"]])
        paths = {image["id"]: os.path.join(folder, IMAGES, image["file_name"]) for image in document["images"]}
        cases = [source_case(Source(paths[id], path=paths[id]), *sorted(truth[id])) for id in truth]
    except OSError as problem:
        raise UsageError(f"dataset {name}", f"{path} cannot be read ({problem.strerror})", UNPACK) from problem
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UsageError(f"dataset {name}", f"{path} is not COCO's list of instances", UNPACK) from problem
    if twice := [each for number, each in enumerate(names) if each in names[:number]]:
        raise UsageError(f"dataset {name}", f"{path} names the category {twice[0]!r} twice", UNPACK)
    return Dataset(name, names, cases, multilabel=True)
