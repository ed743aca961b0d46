"""Single-file checkpoints with wild bytes, names, shapes and metadata: loaded, or refused in words."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from random import Random

import bigain
import pytest
import torch
from fuzz_cases import check, generator, wild_bytes, wild_json
from safetensors.torch import load, save
from test_single_file import EPSILON
from test_single_file import save as save_model

FAST, ALL = 8, 1_500


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny whole Stable Diffusion in one file, and its tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint") / "whole"
    save_model(folder, second=False)
    return folder


def changed_header(dice: Random, data: bytes) -> bytes:
    """Return a file with another header before the same tensors."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = wild_json(dice, header).encode("utf-8", "surrogatepass")
    if dice.random() < 0.7:
        name = dice.choice(sorted(header.keys() - {"__metadata__"}))
        entry = header.pop(name)
        entry["shape"] = dice.choice([[], [1], [0, 5], [10**6], entry["shape"][::-1], [*entry["shape"], 1]])
        header[dice.choice([name, name + ".x", "input_blocks." + name, name.rpartition(".")[0]])] = entry
        header["__metadata__"] = {"modelspec.resolution": dice.choice(["9" * 5000 + "x1", "0x0", "16x", "64x64"])}
        text = json.dumps(header).encode()
    return struct.pack("<Q", dice.choice([len(text)] * 9 + [0, 2**63])) + text + data[8 + length :]


def changed_tensors(dice: Random, data: bytes) -> bytes:
    """Return a file whose tensors have other shapes, types or names."""
    tensors = load(data)
    for name in dice.sample(sorted(tensors), dice.randint(1, 3)):
        tensor = tensors.pop(name)
        match dice.randrange(5):
            case 0:
                tensors[name] = torch.zeros(dice.choice([(), (0,), (1,), (3, 5), (64, 4, 3, 3), (1, 1, 1, 1, 1)]))
            case 1:
                tensors[name] = tensor.to(dice.choice([torch.int8, torch.bool, torch.float64, torch.bfloat16]))
            case 2:
                tensors[name.replace("0", "7")] = tensor
            case 3:
                tensors[name] = tensor * float("nan")
    return save(tensors, dict(EPSILON))


def run_case(number: int, whole: Path, place: Path) -> str:
    """Change a checkpoint, and load it."""
    dice = generator("single files", number)
    change = dice.choice([changed_header, changed_tensors, changed_tensors, wild_bytes])
    folder = place / str(number)
    folder.mkdir()
    shutil.copytree(whole / "tokenizer", folder / "tokenizer")
    (folder / "model.safetensors").write_bytes(change(dice, (whole / "model.safetensors").read_bytes()))
    ended = check(lambda: bigain.load(str(folder / "model.safetensors"), device="cpu"))
    shutil.rmtree(folder)
    return ended


@pytest.mark.filterwarnings("ignore:model .* does not say what it predicts")
def test_a_few_wild_single_files(whole: Path, tmp_path: Path) -> None:
    assert "refused" in {run_case(number, whole, tmp_path) for number in range(FAST)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:model .* does not say what it predicts")
@pytest.mark.parametrize("part", range(50))
def test_wild_single_files(part: int, whole: Path, tmp_path: Path) -> None:
    for number in range(FAST + part, ALL, 50):
        run_case(number, whole, tmp_path)
