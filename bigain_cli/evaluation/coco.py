"""COCO's validation images with the kinds of things in each: several per image, or none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bigain_cli.datasets.dataset import Case, Dataset
from bigain_cli.errors import UsageError
from bigain_cli.images import Source
from bigain_cli.registry import Testbed

INSTANCES, PICTURES = "annotations/instances_val2017.json", "val2017"
UNPACK = "Unpack val2017.zip and annotations_trainval2017.zip there (cocodataset.org)."


def open_coco(name: str, folder: str, entry: Testbed, download: bool) -> Dataset:
    """Read the annotations; crowds count, too."""
    if download:
        raise UsageError(f"--download {name}", "COCO is fetched by hand", UNPACK)
    path = os.path.join(folder, INSTANCES)
    try:
        about = json.loads(Path(path).read_bytes())
        kinds = {kind["id"]: number for number, kind in enumerate(sorted(about["categories"], key=lambda k: k["id"]))}
        names = tuple(kind["name"] for kind in sorted(about["categories"], key=lambda k: k["id"]))
        truth: dict[int, set[int]] = {picture["id"]: set() for picture in about["images"]}
        for thing in about["annotations"]:
            truth[thing["image_id"]].add(kinds[thing["category_id"]])
        cases = [_case(os.path.join(folder, PICTURES), picture, truth) for picture in about["images"]]
    except OSError as problem:
        raise UsageError(f"dataset {name}", f"{path} cannot be read ({problem.strerror})", UNPACK) from problem
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UsageError(f"dataset {name}", f"{path} is not COCO's list of instances", UNPACK) from problem
    return Dataset(name, names, cases, entry.preset, many=True)


def _case(folder: str, picture: dict[str, Any], truth: dict[int, set[int]]) -> Case:
    path = os.path.join(folder, picture["file_name"])
    return Case(path, tuple(sorted(truth[picture["id"]])), lambda: Source(path, path=path))
