"""`--dry-run` refuses what the run would, as far as a model's folder tells without its weights, and makes nothing."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import bigain_cli as bigain
from bigain_cli.backbones.outline import outline_of
from bigain_cli.cli.app import answer
from bigain_cli.errors import UsageError
from bigain_cli.models import resolve

WORDS: dict[str, Any] = {
    "unet/config.json": {"in_channels": 12, "sample_size": 16},
    "scheduler/scheduler_config.json": {"num_train_timesteps": 100},
    "bigain.json": {
        "classes": {"cat": ["cat", "kitten"], "dog": ["dog"]},
        "templates": ["a photo of a {}."],
        "patch": 2,
        "score": "vote",
    },
}
NUMBERS: dict[str, Any] = {
    "transformer/config.json": {"in_channels": 4, "sample_size": 8, "num_embeds_ada_norm": 3},
    "vae/config.json": {"block_out_channels": [8, 8]},
    "scheduler/scheduler_config.json": {},
    "model_index.json": {"id2label": {"0": "cat, kitten", "1": "dog", "2": "owl"}},
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a picture and two models that lack their weights."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    for name, parts in (("words", WORDS), ("numbers", NUMBERS)):
        for path, content in parts.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize("arguments", ["", "--size 40x24 --steps 100", "--negative kitten"])
def test_what_can_be_drawn_is_planned(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(["generate", "cat", "A photo of a dog!", "-m", "words", "--dry-run", *arguments.split()]) == 0
    assert "pictures  2" in capsys.readouterr().out
    assert answer(["generate", "owl", "0", "-m", "numbers", "--size", "16", "--dry-run"]) == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["a photo of a horse.", "-m", "words"], "does not know the word 'horse'"),
        (["cat and dog", "-m", "words"], "does not know the word 'and'"),
        (["cat", "--negative", "horse", "-m", "words"], "does not know the word 'horse'"),
        (["cat", "--size", "33x32", "-m", "words"], "words draws in steps of 2 pixels"),
        (["cat", "--steps", "101", "-m", "words"], "this model's schedule has 100"),
        (["cat", " cat ", "-m", "words"], "prompt 'cat': given 2 times"),
        (["tiger", "-m", "numbers"], "not among the 3 classes"),
        (["dog", "--size", "32x16", "-m", "numbers"], "knows its places at 16x16 only"),
        (["dog", "--steps", "1001", "-m", "numbers"], "this model's schedule has 1000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: list[str], why: str) -> None:
    with pytest.raises(UsageError) as refused:
        answer(["generate", *arguments, "--dry-run"])
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("-l cat,horse -m words", "does not know the word 'horse'"),
        ("-l cat,tiger -m numbers", "not among the 3 classes"),
        ("-l cat,kitten -m numbers", "the same class 0"),
        ("-l cat,dog -m words --heatmap maps", "maps of the score vote: votes have no place"),
        ("-l red,blue -m colours --heatmap maps --score vote", "maps of the score vote: votes have no place"),
        ("-l red,blue -m colours --heatmap a.png", "a.png: exists and is no folder"),
        ("-l red,blue -m colours --heatmap a.png/deep/maps", "a.png/deep/maps: cannot be made"),
    ],
)
def test_what_cannot_be_classified_is_refused(arguments: str, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        answer(["classify", "a.png", *arguments.split(), "--dry-run"])
    assert why in str(refused.value)


def test_a_plan_makes_no_folder_but_wants_the_library(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(place.rglob("*"))
    maps = ["--heatmap", "deep/maps", "--dry-run"]
    assert answer(["classify", "a.png", "-l", "cat,dog", "-m", "words", "--score", "l2", *maps]) == 0
    assert sorted(place.rglob("*")) == before
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="matplotlib plots it"):
        answer(["classify", "a.png", "-l", "cat,dog", "-m", "words", "--score", "l2", *maps])


def test_a_folder_that_tells_nothing_is_left_to_loading(place: Path) -> None:
    (place / "words" / "unet" / "config.json").write_text("{")
    assert outline_of(resolve("words")) is None and outline_of(resolve("colours")) is None
    assert answer(["generate", "anything", "-m", "words", "--dry-run"]) == 0


@pytest.mark.parametrize("kind", ["epsilon", "pixels", "dit"])
def test_an_outline_is_what_loading_finds(kind: str, models: dict[str, Path]) -> None:
    outline, backbone = outline_of(resolve(str(models[kind]))), bigain.load(str(models[kind]), device="cpu")
    assert outline is not None
    for name in ("name", "latent_shape", "scale", "elastic", "length"):
        assert getattr(outline, name) == getattr(backbone, name), name
    assert (outline.vocabulary and outline.vocabulary.names) == (backbone.vocabulary and backbone.vocabulary.names)


def test_looking_at_a_folder_needs_no_torch() -> None:
    code = "import sys; from bigain_cli.cli.app import answer; answer(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    for arguments in (["generate", "cat", "-m", "words"], ["classify", "a.png", "-l", "cat,dog", "-m", "numbers"]):
        assert subprocess.run([sys.executable, "-c", code, *arguments, "--dry-run"]).returncode == 0
