"""A model that knows its own classes needs no labels: the same answers as with them written out, and it says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from commands import warm
from PIL import Image

import bigain_cli as bigain
from bigain_cli.backbones.model_locations import resolve
from bigain_cli.backbones.unloaded_model import read_unloaded
from bigain_cli.backbones.vocabulary import HOMONYMS, ClassVocabulary
from bigain_cli.registry import MODELS

NOWHERE = Path("/nowhere")
OWN = [name for name, model in MODELS.items() if model.folder or model.closed_form]


@pytest.fixture(scope="module")
def red() -> tuple[str, Image.Image]:
    return "red.png", Image.new("RGB", (32, 32), "red")


@pytest.mark.parametrize("name", OWN)
def test_no_labels_are_the_models_own(name: str, red: tuple[str, Image.Image]) -> None:
    rules = bigain.StoppingRules(schedule="fixed", draws=1)
    backbone = bigain.load(name, device="cpu")
    (plain,) = bigain.classify(backbone, [red], rules=rules)
    (written,) = bigain.classify(backbone, [red], ",".join(backbone.class_names), rules=rules)
    assert isinstance(plain, bigain.Ranking) and plain.to_dict() == written.to_dict()
    vocabulary = read_unloaded(resolve(name), NOWHERE).vocabulary
    assert vocabulary is not None and vocabulary.main_names() == backbone.class_names


def test_a_class_is_called_by_a_name_that_finds_it() -> None:
    names = tiny_models.NAMES | {134: "crane", 999: "tabby cat, mackerel", 1000: "crane, tabby cat"}
    vocabulary = ClassVocabulary(names, unconditional=None)
    assert [vocabulary.find(name) for name in vocabulary.main_names()] == list(names)
    assert vocabulary.main_names()[:4] == ("tench", "tabby", "2", "3")
    assert dict(zip(names, vocabulary.main_names(), strict=True))[134] == "crane bird" in HOMONYMS


def test_a_model_that_reads_any_text_has_none(models: dict[str, Path], red: tuple[str, Image.Image]) -> None:
    with pytest.raises(bigain.UsageError, match="reads any text, and so has no classes of its own"):
        bigain.classify(str(models["epsilon"]), [red])
    assert read_unloaded(resolve(str(models["epsilon"])), NOWHERE).vocabulary is None


def test_a_hubs_model_has_them_once_it_is_in_the_cache(models: dict[str, Path], tmp_path: Path) -> None:
    before = read_unloaded(resolve("dit-256"), tmp_path)
    assert before.vocabulary is None and before.may_know_classes
    assert not read_unloaded(resolve("sd2"), tmp_path).may_know_classes
    snapshots = tmp_path / "models--facebook--DiT-XL-2-256" / "snapshots"
    snapshots.mkdir(parents=True)
    (snapshots / "abc").symlink_to(models["dit"])
    found = read_unloaded(resolve("dit-256"), tmp_path).vocabulary
    assert found is not None and found.main_names() == ("tench", "tabby", "2", "3", "Cardigan", "airliner")


@pytest.mark.parametrize("index", ["{", "[]", '{"id2label": {"a": "b"}}', '{"id2label": {}}', "{}"])
def test_a_broken_index_is_left_to_the_loading(index: str, tmp_path: Path) -> None:
    (tmp_path / "m" / "transformer").mkdir(parents=True)
    (tmp_path / "m" / "model_index.json").write_text(index)
    assert read_unloaded(resolve(str(tmp_path / "m")), NOWHERE).vocabulary is None


def test_the_command_says_which_labels_it_took(tmp_path: Path, red: tuple[str, Image.Image]) -> None:
    red[1].save(tmp_path / red[0])

    def said(*flags: str) -> tuple[dict[str, Any], list[str]]:
        result = warm("classify", "red.png", "--jsonl", *flags, cwd=tmp_path)
        assert result.code == 0, result.err
        return json.loads(result.out), [line for line in result.err.splitlines() if "labels: " in line]

    record, lines = said()
    assert record["label"] == "red" and record["settings"]["labels"] == 11
    assert lines == [
        "bigain: labels: the 11 classes of colours (black, white, grey, red, orange, yellow, green, blue, purple, "
        "pink, brown); -l chooses others"
    ]
    assert said("-q") == (record, []) and said("-l", "red,blue")[1] == []
