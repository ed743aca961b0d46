"""Wild datasets, in safetensors files, in folders and as COCO's annotations: opened and read, or refused in words."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from fuzz_cases import DEEP, LONG, TEXTS, check, generator, wild_bytes, wild_json
from odd_images import busy, encoded
from safetensors.torch import save
from torch import Tensor

from bigain_cli.datasets.dataset import choose, labels_for
from bigain_cli.datasets.opening import ANNOTATIONS, open_dataset
from bigain_cli.images import read_or_error

FAST, ALL = 150, 4_000
JPEG = encoded(busy(8), "JPEG")
TYPES = (torch.int8, torch.uint8, torch.int16, torch.int64, torch.bool, torch.float32, torch.float64, torch.bfloat16)
OTHER_TYPES = (torch.complex64, torch.float8_e4m3fn, torch.float16, torch.uint16, torch.uint64)
COCO: dict[str, Any] = {
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
    "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
    "annotations": [{"image_id": 1, "category_id": 7}, {"image_id": 2, "category_id": 3}],
}


def wild_tensor(dice: Random, tensor: Tensor) -> Tensor:
    """Return another tensor: of another shape, of another type, with other numbers."""
    match dice.randrange(5):
        case 0:
            return torch.zeros(dice.choice([(), (0,), (1,), (3,), (2, 2), (1, 1, 3)]), dtype=tensor.dtype)
        case 1:
            return tensor.to(dice.choice(TYPES))
        case 2:
            return tensor.to(torch.float32).to(dice.choice(OTHER_TYPES))
        case 3:
            changed = tensor.clone().long()
            changed[dice.randrange(len(tensor))] = dice.choice([-1, 0, 1, 10**9, 2**63 - 1, -(2**63)])
            return changed
        case _:
            return tensor[None]


def wild_classes(dice: Random) -> str:
    """Return what the metadata says of the classes."""
    names = ["cat", dice.choice(TEXTS).replace("\ud800", "x").replace("\0", " ")]
    plain = [
        "",
        "cat",
        "cat,dog",
        "cat,,dog",
        "cat,cat",
        ",",
        json.dumps(names),
        json.dumps({"a": 1}),
        DEEP,
        LONG,
        ", ",
    ]
    return dice.choice(plain)


def tensors_file(dice: Random, place: Path) -> str:
    """Write a safetensors file."""
    tensors = {
        "jpeg": torch.frombuffer(bytearray(JPEG * 3), dtype=torch.uint8),
        "offsets": torch.arange(4) * len(JPEG),
        "labels": torch.tensor([0, 1, 0]),
    }
    metadata = {"classes": "cat,dog"}
    change = dice.random()
    if change < 0.6:
        name = dice.choice(sorted(tensors))
        tensors[name] = wild_tensor(dice, tensors[name])
    elif change < 0.8:
        metadata = {dice.choice(["classes", "classes", "other"]): wild_classes(dice)}
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    if change > 0.95:
        length = int.from_bytes(data[:8], "little")
        header = wild_json(dice, json.loads(data[8 : 8 + length])).encode("utf-8", "surrogatepass")
        data = struct.pack("<Q", len(header)) + header + data[8 + length :]
    elif change > 0.8:
        data = wild_bytes(dice, data)
    path = place / "data.safetensors"
    path.write_bytes(data)
    return str(path)


def class_folders(dice: Random, place: Path) -> str:
    """Make a folder of class folders with odd names, odd files and pipes."""
    for name in dice.sample([b"cat", b"dog", b" ", b"\xff\xfe", b"a\nb", b"none", b".x", b"=1", b"x" * 200], 3):
        folder = os.fsencode(place) + b"/" + name
        os.mkdir(folder)
        for number in range(dice.randrange(3)):
            path = folder + f"/{number}.jpg".encode()
            kind = dice.randrange(5)
            if kind == 0:
                os.mkfifo(path)
            elif kind == 1:
                os.symlink(path, path)
            else:
                Path(os.fsdecode(path)).write_bytes(JPEG if kind < 4 else wild_bytes(dice, JPEG))
    return str(place)


def coco_folder(dice: Random, place: Path) -> str:
    """Write wild annotations."""
    path = place / ANNOTATIONS
    path.parent.mkdir()
    path.write_bytes(wild_json(dice, COCO).encode("utf-8", "surrogatepass"))
    return f"coco:{place}"


MAKERS = (tensors_file, tensors_file, tensors_file, class_folders, coco_folder)


def read_all(name: str) -> None:
    """Open a dataset and all its images."""
    chosen = choose(open_dataset(name), None, None, 0)
    if not chosen.preset:
        labels_for(chosen, None)
    for case in chosen.cases:
        read_or_error(case.opened())


def run_case(number: int, place: Path) -> str:
    """Make and read one wild dataset."""
    dice = generator("datasets", number)
    folder = place / str(number)
    folder.mkdir()
    name = dice.choice(MAKERS)(dice, folder)
    ended = check(lambda: read_all(name))
    shutil.rmtree(folder)
    return ended


def test_some_wild_datasets(tmp_path: Path) -> None:
    assert {run_case(number, tmp_path) for number in range(FAST)} == {"accepted", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_wild_datasets(part: int, tmp_path: Path) -> None:
    for number in range(FAST + part, ALL, 10):
        run_case(number, tmp_path)
