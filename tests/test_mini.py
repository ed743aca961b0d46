"""The embedded models: small, offline, with a closed vocabulary, and run as their cards recommend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import run, warm
from flop_counting import counting_flops
from PIL import Image

import bigain_cli as bigain
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.model_locations import model_folder
from bigain_cli.registry import DEFAULT_MODEL, MODELS
from bigain_cli.training import export

EMBEDDED = [name for name, model in MODELS.items() if model.folder]
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(scope="module", params=EMBEDDED)
def embedded(request: pytest.FixtureRequest) -> tuple[str, Path, ModelCard, Any]:
    folder = model_folder(MODELS[request.param])
    return request.param, folder, ModelCard.read(folder), bigain.load(request.param, device="cpu")


def image() -> Image.Image:
    return Image.effect_noise((48, 40), 90).convert("RGB")


def test_the_default_model_comes_with_the_package() -> None:
    assert DEFAULT_MODEL in EMBEDDED


def test_it_is_small_and_cheap_to_evaluate(embedded) -> None:
    _, folder, _, backbone = embedded
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 12e6
    assert not list(folder.rglob("*.bin")) and not list(folder.rglob("*.pt"))
    conditions = backbone.condition(["cat"])
    with counting_flops() as counter, torch.inference_mode():
        backbone.noise(torch.zeros(1, *backbone.latent_shape), torch.tensor([500]), conditions)
    assert counter.get_total_flops() <= 0.7e9
    classification = bigain.Classification(backbone, ["cat", "dog"], compress="none")
    assert classification.cost.whole * 1e9 == pytest.approx(counter.get_total_flops())
    assert backbone.encode(image()).numel() == 3 * 32 * 32


def test_it_accepts_its_classes_their_synonyms_and_nothing_else(embedded) -> None:
    _, _, card, backbone = embedded
    assert list(card.classes) == CLASSES
    for names in card.classes.values():
        backbone.condition(names)
    for unknown in ("zebra", "a photo of a house", "cat dog"):
        with pytest.raises(bigain.UsageError, match=r"[Kk]now"):
            backbone.condition([unknown])


def test_its_card_decides_how_it_is_used(embedded) -> None:
    name, _, card, backbone = embedded
    assert (backbone.score, backbone.temperature, backbone.compress) == (card.score, card.temperature, card.compress)
    result = next(bigain.classify(backbone, image(), ["cat", "ship"]))
    assert result.settings["model"] == name and result.settings["score"] == card.score
    assert result.settings["max_draws"] == (card.draws or 256)
    assert (result.settings["compress"] == "none") == (card.compress == "none")


def test_a_synonym_is_another_name_of_the_same_class(embedded) -> None:
    *_, backbone = embedded
    noisy = torch.randn(1, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    conditions = backbone.condition(["car", "automobile", "frog"])
    with torch.inference_mode():
        one, same, other = (
            backbone.noise(noisy, torch.tensor([400]), conditions.take(torch.tensor([row]))) for row in range(3)
        )
    assert (one - same).norm() < 0.7 * (one - other).norm()


def test_list_prints_its_card_with_accuracy_and_intended_use(embedded) -> None:
    name, _, card, _ = embedded
    listing = run("list", "models", "-v").out.decode()
    section = listing[listing.index(f"# {name}: ") :]
    for words in ("held-out images", "minutes", "Recipe", "test bench", "CIFAR-10"):
        assert words in section
    rows = json.loads(run("list", "models", "--json").out)
    (row,) = [row for row in rows if row["name"] == name]
    assert row["present"] and row["card"]["score"] == card.score


def test_its_page_is_the_one_that_its_card_gives(embedded) -> None:
    name, folder, card, _ = embedded
    assert (folder / "README.md").read_text(encoding="utf-8") == export._readme(name, card)
    assert "Labels were compared in training" in card_text(folder) and "plain model of this shape" in card_text(folder)


def card_text(folder: Path) -> str:
    return " ".join((folder / "README.md").read_text(encoding="utf-8").split())


def test_the_command_runs_on_it_by_default(tmp_path: Path) -> None:
    image().save(tmp_path / "image.png")
    result = warm("classify", "image.png", "-l", "cifar10", "--json", cwd=tmp_path, env={"BIGAIN_MODEL": ""})
    (record,) = json.loads(result.out)
    assert result.code == 0 and record["settings"]["model"] == DEFAULT_MODEL and record["label"] in CLASSES
    refused = warm("classify", "image.png", "-l", "cat,zebra", cwd=tmp_path, env={"BIGAIN_MODEL": ""})
    assert refused.code == 2 and "zebra" in refused.err and "ship" in refused.err
