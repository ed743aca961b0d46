"""Kept embeddings are a cache: as good as the text encoder's, and worth nothing once that has changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import bigain_cli as bigain
from bigain_cli.backbones.base import Conditions
from bigain_cli.backbones.diffusers_folder import DiffusersFolder
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.model_locations import model_folder
from bigain_cli.backbones.prompt_embeddings import EMBEDDINGS_FILE, read_embeddings, write_embeddings
from bigain_cli.backbones.prompt_encoder import MANY
from bigain_cli.backbones.unet import TextUNet
from bigain_cli.backbones.vocabulary import PromptVocabulary
from bigain_cli.registry import MODELS

MINI = model_folder(MODELS["mini"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the embedded model."""
    return Path(shutil.copytree(MINI, tmp_path / "mini"))


def embeddings(folder: Path, prompts: list[str]) -> torch.Tensor:
    return bigain.load(str(folder), "cpu", "float32").condition(prompts).rows


def test_they_are_those_of_the_text_encoder_for_every_prompt_of_the_vocabulary(folder: Path) -> None:
    card = ModelCard.read(folder)
    vocabulary = PromptVocabulary(card.classes, card.templates)
    prompts = ["", *(text for name in card.classes for text in vocabulary.sentences(name))]
    kept = embeddings(folder, prompts)
    assert {vocabulary.normalise(prompt) for prompt in prompts} == read_embeddings(folder).keys()
    (folder / EMBEDDINGS_FILE).unlink()
    torch.testing.assert_close(kept, embeddings(folder, prompts), rtol=1e-4, atol=1e-5)


def test_the_text_encoder_is_loaded_for_other_prompts_and_dtypes_only(folder: Path, monkeypatch) -> None:
    loaded = []
    text = DiffusersFolder.text
    monkeypatch.setattr(DiffusersFolder, "text", lambda self: loaded.append(self.dtype) or text(self))
    backbone = bigain.load(str(folder), "cpu", "float32")
    known = backbone.condition(["a photo of a cat."]).rows
    assert loaded == []
    swapped = backbone.condition(["cat a of photo a", "a photo of a cat."]).rows
    assert loaded == [torch.float32] and swapped.shape == (2, *known.shape[1:])
    torch.testing.assert_close(swapped[1:], known, rtol=1e-4, atol=1e-5)
    bigain.load(str(folder), "cpu", "bfloat16")
    assert loaded == [torch.float32, torch.bfloat16]
    backbone.to(torch.bfloat16)
    assert backbone.condition(["a photo of a cat."]).rows.dtype == torch.bfloat16


@pytest.mark.parametrize("part", ["text_encoder/model.safetensors", "tokenizer/tokenizer.json", EMBEDDINGS_FILE])
def test_a_changed_text_encoder_or_a_broken_file_makes_them_worthless(part: str, folder: Path) -> None:
    path = folder / part
    assert read_embeddings(folder)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    if part == EMBEDDINGS_FILE:
        path.write_bytes(path.read_bytes()[:500])
    assert read_embeddings(folder) == {}


def test_they_are_part_of_the_models_identity(folder: Path) -> None:
    parts = DiffusersFolder("mini", folder, torch.device("cpu"), torch.float32)
    before = parts.identity
    write_embeddings(folder, {"": torch.zeros(2, 3), "other": torch.ones(2, 3)})
    assert DiffusersFolder("mini", folder, torch.device("cpu"), torch.float32).identity != before
    assert read_embeddings(folder)["other"].tolist() == torch.ones(2, 3).tolist()


def test_embeddings_of_many_prompts_are_kept_between_runs_with_the_same_bits(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [f"thing {number}" for number in range(MANY + 5)]

    def load() -> torch.Tensor:
        return bigain.load(str(models["epsilon"]), "cpu", "float32", cache=tmp_path).condition(prompts).rows

    first = load()
    monkeypatch.setattr("bigain_cli.backbones.prompt_encoder._refuse_long", lambda *given: 1 / 0)  # nothing is embedded
    monkeypatch.setattr("bigain_cli.backbones.unet.TextUNet.condition", kept_only(TextUNet.condition))
    assert torch.equal(load(), first)
    with pytest.raises(ZeroDivisionError):
        bigain.load(str(models["epsilon"]), "cpu", "float32", cache=None).condition(prompts)


def kept_only(condition):  # type: ignore[no-untyped-def]
    """Let a model be loaded without its empty prompt, which is one of few and so never kept."""
    return lambda self, prompts: condition(self, prompts) if len(prompts) > 1 else Conditions(torch.zeros(1, 40, 16))


def test_embeddings_of_few_prompts_are_not_kept(models: dict[str, Path], tmp_path: Path) -> None:
    bigain.load(str(models["epsilon"]), "cpu", "float32", cache=tmp_path).condition(["one", "two"])
    assert not list(tmp_path.rglob("*.safetensors"))
