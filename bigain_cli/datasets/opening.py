"""Datasets as torchvision knows them, on a disk, or downloaded to it on request."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bigain_cli.datasets import open_image_folder
from bigain_cli.datasets.dataset import Case, Dataset, cases_of
from bigain_cli.errors import BigainError, UsageError, did_you_mean
from bigain_cli.images import Source
from bigain_cli.registry import DATASETS, DatasetInfo, attribute


def open_torchvision(name: str, folder: str, entry: DatasetInfo, download: bool) -> Dataset:
    """Open a dataset by its class in torchvision."""
    if download and not entry.fetched:
        why = "torchvision cannot fetch this dataset"
        raise UsageError(f"--download {name}", why, "Fetch it from its authors, and name its folder.")
    if not download and not os.path.isdir(folder):
        raise UsageError(f"dataset {name}", f"no folder {folder}", _fetching(entry))
    found = _made(name, folder, entry, download)
    truths = [int(number) for number in getattr(found, entry.targets)]
    cases = [Case(f"{name}[{number}]", (truth,), _opener(found, number)) for number, truth in enumerate(truths)]
    return Dataset(name, tuple(getattr(found, entry.names)), cases)


def open_wordnet(name: str, folder: str, entry: DatasetInfo, download: bool) -> Dataset:
    """Open ImageNet as a folder of class folders named n01440764 …, in the order of these names."""
    if download:
        raise UsageError(f"--download {name}", "ImageNet is not free to fetch", "See image-net.org.")
    inner = os.path.join(folder, "val")
    root = inner if os.path.isdir(inner) else folder
    album = open_image_folder(root)
    if len(album.classes) != entry.classes or not all(each[:1] == "n" and each[1:].isdigit() for each in album.classes):
        why = f"{root} has {len(album.classes)} class folders; wanted are {entry.classes}, named as n01440764"
        raise UsageError(f"dataset {name}", why, "Unpack the validation images into a folder for each class.")
    return Dataset(name, album.classes, cases_of(album), strays=album.strays)


def _made(name: str, folder: str, entry: DatasetInfo, download: bool) -> Any:
    if entry.needs and importlib.util.find_spec(entry.needs) is None:
        why = f"torchvision reads it with {entry.needs}, which is not installed"
        raise UsageError(f"dataset {name}", why, f"pip install {entry.needs}")
    options = {**entry.options, **({"download": download} if entry.fetched else {})}
    try:
        return attribute(f"torchvision.datasets:{entry.torchvision}")(folder, **options)
    except (RuntimeError, OSError, ValueError) as problem:
        why = str(problem).split(chr(10))[0] or type(problem).__name__
        if download:
            raise BigainError(f"dataset {name}", f"could not be fetched ({why})", "Check the network.") from problem
        raise UsageError(f"dataset {name}", f"not found in {folder} ({why})", _fetching(entry)) from problem


def _fetching(entry: DatasetInfo) -> str:
    return "Add --download to fetch it there." if entry.fetched else "Name the folder that it was unpacked to."


def _opener(found: Any, number: int) -> Callable[[], Any]:
    return lambda: found[number][0]


INSTANCES, IMAGES = "annotations/instances_val2017.json", "val2017"
UNPACK = "Unpack val2017.zip and annotations_trainval2017.zip there (cocodataset.org)."


def open_coco(name: str, folder: str, entry: DatasetInfo, download: bool) -> Dataset:
    """Read the annotations; crowds count, too."""
    if download:
        raise UsageError(f"--download {name}", "COCO is fetched by hand", UNPACK)
    path = os.path.join(folder, INSTANCES)
    try:
        about = json.loads(Path(path).read_bytes())
        kinds = {kind["id"]: number for number, kind in enumerate(sorted(about["categories"], key=lambda k: k["id"]))}
        names = tuple(kind["name"] for kind in sorted(about["categories"], key=lambda k: k["id"]))
        truth: dict[int, set[int]] = {image["id"]: set() for image in about["images"]}
        for thing in about["annotations"]:
            truth[thing["image_id"]].add(kinds[thing["category_id"]])
        cases = [_case(os.path.join(folder, IMAGES), image, truth) for image in about["images"]]
    except OSError as problem:
        raise UsageError(f"dataset {name}", f"{path} cannot be read ({problem.strerror})", UNPACK) from problem
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UsageError(f"dataset {name}", f"{path} is not COCO's list of instances", UNPACK) from problem
    return Dataset(name, names, cases, many=True)


def _case(folder: str, image: dict[str, Any], truth: dict[int, set[int]]) -> Case:
    path = os.path.join(folder, image["file_name"])
    return Case(path, tuple(sorted(truth[image["id"]])), lambda: Source(path, path=path))


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
    return replace(opened, preset=kind)


def _from_album(path: str) -> Dataset:
    album = open_image_folder(path)
    return Dataset(path, album.classes, cases_of(album), strays=album.strays)
