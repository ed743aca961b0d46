"""Model folders with wild configurations, tokenizers, cards and weights: loaded, or refused in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import bigain
import pytest
from fuzz_cases import check, generator, wild_bytes, wild_json
from PIL import Image

FAST, ALL = 24, 3_000
LABELS = {"epsilon": ["cat", "small dog"], "dit": ["tench", "tabby"], "card": ["cat", "dog"]}
IMAGE = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
CARD = {
    "score": "norm", "temperature": 0.01, "compress": "none", "draws": 8, "times": [0.1, 0.9], "patch": 1,
    "sampling": {"compress": "none", "guidance": 2.0, "sampler": "ddim", "steps": 2},
    "classes": {"cat": ["cat", "kitten"], "dog": ["dog"]}, "templates": ["a photo of a {}.", "{}"],
    "about": {"data": "none"},
}  # fmt: skip


def change_one_file(dice: Random, folder: Path) -> None:
    """Change, remove or replace one file of a model's folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    documents = [path for path in paths if path.suffix in (".json", ".txt")]
    path = dice.choice(documents if dice.random() < 0.85 else paths)
    match dice.randrange(12):
        case 0:
            path.unlink()
        case 1:
            path.unlink()
            path.mkdir()
        case 2 if dice.random() < 0.5:
            shutil.rmtree(path.parent) if path.parent != folder else path.unlink()
        case 3 | 4:
            path.write_bytes(wild_bytes(dice, path.read_bytes()))
        case 5:
            index = {
                "weight_map": {"conv_out.weight": dice.choice(["../x.safetensors", "a.bin", "b.safetensors", "", "."])}
            }
            name = "model" if (folder / "text_encoder") == path.parent else "diffusion_pytorch_model"
            (path.parent / f"{name}.safetensors.index.json").write_text(wild_json(dice, index))
        case _ if path.suffix == ".json":
            path.write_text(wild_json(dice, json.loads(path.read_text())))
        case _:
            path.write_bytes(wild_bytes(dice, path.read_bytes()))


def use(folder: Path, labels: list[str]) -> None:
    """Load a model, classify an image and generate one."""
    backbone = bigain.load(str(folder), device="cpu")
    rules = bigain.StoppingRules(draws=2)
    for result in bigain.classify(backbone, IMAGE, labels, rules=rules):
        result.to_dict()
    for image in bigain.generate(backbone, labels[:1], steps=2):
        image.png()


def run_case(number: int, models: dict[str, Path], place: Path) -> str:
    """Change a copy of a tiny model, and use it."""
    dice = generator("model folders", number)
    kind = dice.choice(["epsilon", "epsilon", "dit", "card"])
    folder = Path(shutil.copytree(models["epsilon" if kind == "card" else kind], place / str(number)))
    if kind == "card":
        (folder / "bigain.json").write_text(json.dumps(CARD) if dice.random() < 0.1 else wild_json(dice, CARD))
        if dice.random() < 0.8:
            dice = generator("no change", number)
        else:
            change_one_file(dice, folder)
    else:
        change_one_file(dice, folder)
    ended = check(lambda: use(folder, LABELS[kind]))
    shutil.rmtree(folder)
    return ended


@pytest.mark.parametrize("part", range(4))
def test_a_few_wild_model_folders(part: int, models: dict[str, Path], tmp_path: Path) -> None:
    ended = [run_case(number, models, tmp_path) for number in range(part, FAST, 4)]
    assert {"refused"} <= set(ended)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(100))
def test_wild_model_folders(part: int, models: dict[str, Path], tmp_path: Path) -> None:
    for number in range(FAST + part, ALL, 100):
        run_case(number, models, tmp_path)
