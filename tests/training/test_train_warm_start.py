"""Beginning from another backbone's weights: what is taken over, by name, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import train_cases as cases

from bigain_cli import load
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.errors import ModelError, UsageError
from bigain_cli.training.checkpoint import load_checkpoint
from bigain_cli.training.job import TrainingWarning
from bigain_cli.training.networks import TrainableBackbone, make_trainable
from bigain_cli.training.output_folder import checkpoint_of
from bigain_cli.training.recipe import Recipe
from bigain_cli.training.trainer import train
from bigain_cli.training.warm_start import copy_weights, warm_start

ARCHES = ("unet", "dit")
OTHERS = ("truck", "bird", "zebra")  # in another order, and one that was never seen


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Train a parent of either architecture, and one that reads its labels late."""
    folder = tmp_path_factory.mktemp("parents")
    for arch in ARCHES:
        list(train(cases.job(folder / arch, arch)))
    list(train(cases.job(folder / "late", recipe=cases.recipe("dit", label_entry="late"))))
    return {arch: folder / arch for arch in (*ARCHES, "late")}


def answers(trainable: TrainableBackbone, rows: torch.Tensor) -> torch.Tensor:
    shape = (len(rows), 12, 8, 8) if hasattr(trainable, "text_encoder") else (len(rows), 3, 16, 16)
    noisy = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return trainable(noisy, torch.full((len(rows),), 400), rows[:, None])[:, 0]


def child(arch: str, parent: Path, classes: tuple[str, ...] = cases.CLASSES, **changes: Any) -> TrainableBackbone:
    wanted = cases.recipe(arch, seed=7, **changes)
    source = warm_start(str(parent), wanted)
    trainable = make_trainable(wanted, cases.vocabulary(classes))
    copy_weights(source, trainable, classes, wanted.keep)
    return trainable


def first_rows(trainable: TrainableBackbone) -> torch.Tensor:
    return torch.cat([trainable.first_rows, torch.tensor([trainable.empty])])


@pytest.mark.parametrize("arch", ARCHES)
def test_a_child_answers_as_its_parent_does(parents: dict[str, Path], arch: str) -> None:
    heir, parent = child(arch, parents[arch]), load(str(parents[arch]), "cpu")
    rows = first_rows(heir)[:3]
    noisy = torch.randn(3, *parent.latent_shape, generator=torch.Generator().manual_seed(1))
    texts = ["bird", "ship", "truck"]
    with torch.inference_mode():
        theirs = parent.noise(noisy, torch.full((3,), 400), parent.condition(texts), None)
        mine = heir(noisy, torch.full((3,), 400), rows[:, None])[:, 0]
    torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=0)


@pytest.mark.parametrize("arch", ARCHES)
def test_classes_keep_their_meaning_by_name_in_whatever_order(parents: dict[str, Path], arch: str) -> None:
    same, other = child(arch, parents[arch]), child(arch, parents[arch], OTHERS)
    mine, theirs = answers(other, first_rows(other)), answers(same, first_rows(same))
    truck, bird, _, empty = (answers(other, first_rows(other)[[n]]) for n in range(4))
    old_bird, _, old_truck, old_empty = (answers(same, first_rows(same)[[n]]) for n in range(4))
    for one, two in ((truck, old_truck), (bird, old_bird), (empty, old_empty)):
        torch.testing.assert_close(one, two, atol=2e-5, rtol=0)
    assert not torch.allclose(mine[2], theirs[1], atol=1e-5)  # zebra is nobody's child


def test_an_unknown_class_begins_as_it_would_without_a_parent(parents: dict[str, Path]) -> None:
    heir = child("dit", parents["dit"], OTHERS)
    orphan = make_trainable(cases.recipe("dit", seed=7), cases.vocabulary(OTHERS))
    key = next(name for name in heir.state_dict() if name.endswith("class_embedder.embedding_table.weight"))
    assert torch.equal(heir.state_dict()[key][2], orphan.state_dict()[key][2])
    assert not torch.equal(heir.state_dict()[key][0], orphan.state_dict()[key][0])


def test_labels_enter_a_child_where_they_entered_its_parent(parents: dict[str, Path], tmp_path: Path) -> None:
    heir = child("dit", parents["late"], OTHERS, label_entry="late")
    table = heir.network.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.weight
    assert len(table) == 4 and not table.any()
    for parent, changes in (("late", {}), ("dit", {"label_entry": "late"})):
        with pytest.raises(UsageError, match=r"label_entry (late|early), not (late|early)\. Give --label-entry"):
            child("dit", parents[parent], **changes)
    deeper = {"label_entry": "late", "depth": 3}
    list(train(cases.job(tmp_path / "deeper", recipe=cases.recipe("dit", **deeper))))
    with pytest.raises(UsageError, match=r"shape: label_blocks 1, not 2\. Give label_blocks = 1 in the recipe"):
        child("dit", tmp_path / "deeper", **deeper, label_blocks=2)


@pytest.mark.parametrize("arch", ARCHES)
def test_a_child_may_keep_what_the_classifier_reads_and_begin_anew_behind_it(tmp_path: Path, arch: str) -> None:
    late = {"label_entry": "late", "classifier": 0.5, "warmup": 0}
    list(train(cases.job(tmp_path / "parent", recipe=cases.recipe(arch, **late))))
    all_of_it, part = (child(arch, tmp_path / "parent", **late, keep=keep) for keep in ("all", "shared"))
    orphan = make_trainable(cases.recipe(arch, seed=7, **late), cases.vocabulary(cases.CLASSES))
    noisy = torch.randn(2, *((12, 8, 8) if arch == "unet" else (3, 16, 16)), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        theirs, mine, first = (each.features(noisy, torch.full((2,), 400)) for each in (all_of_it, part, orphan))
    assert torch.equal(mine, theirs) and not torch.allclose(mine, first)
    weights = [dict(each.named_parameters()) for each in (all_of_it, part, orphan)]
    later = {id(weight) for weight in part.later_weights()}
    assert later
    for name, weight in weights[1].items():
        assert torch.equal(weight, weights[2 if id(weight) in later else 0][name]), name
    shared = {id(weight) for weight in part.shared_weights()}
    assert not shared & later


WIDER = {"label_blocks": 2, "keep": "shared"}


def test_a_child_may_read_its_label_in_more_blocks_than_its_parent_if_it_keeps_the_part_before(tmp_path: Path) -> None:
    late = {"label_entry": "late", "classifier": 0.5, "warmup": 0}
    list(train(cases.job(tmp_path / "parent", recipe=cases.recipe("unet", **late))))
    parent, heir = (child("unet", tmp_path / "parent", **late, **changes) for changes in ({}, WIDER))
    mine, theirs = (dict(each.named_parameters()) for each in (heir, parent))
    shared = [name for name, weight in mine.items() if any(weight is each for each in heir.shared_weights())]
    assert shared
    for name in shared:
        assert torch.equal(mine[name], theirs[name]), name
    orphan = make_trainable(cases.recipe("unet", seed=7, **late, **WIDER), cases.vocabulary(cases.CLASSES))
    for weight, fresh in zip(heir.later_weights(), orphan.later_weights(), strict=True):
        assert torch.equal(weight, fresh), "behind the middle block it begins anew"
    blocks = [type(block).__name__ for block in heir.network.up_blocks]
    assert blocks == ["AttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]
    with pytest.raises(UsageError, match=r"label_blocks 1, not 2\. Give label_blocks = 1 in the recipe"):
        child("unet", tmp_path / "parent", **late, label_blocks=2)


def test_there_must_be_something_to_keep(tmp_path: Path) -> None:
    recipe = cases.recipe("unet", label_entry="late", classifier=0.5, keep="shared")
    with pytest.raises(UsageError, match=r"keep shared: has no effect: there is no model to keep from\. Add --from"):
        train(cases.job(tmp_path / "model", recipe=recipe))


@pytest.mark.parametrize(
    ("changes", "option"),
    [({"width": 16}, "--width"), ({"patch": 1}, "patch = 2 in the recipe"), ({"size": 32}, "--size")],
)
def test_another_shape_is_refused_by_its_option(parents: dict[str, Path], changes: dict[str, int], option: str) -> None:
    with pytest.raises(UsageError) as refusal:
        child("unet", parents["unet"], **changes)
    assert option in str(refusal.value)


def test_a_transformer_of_another_depth_and_another_architecture_are_refused(parents: dict[str, Path]) -> None:
    for arch, parent, changes, option in (
        ("dit", "dit", {"depth": 3}, "depth = 2 in the recipe"),
        ("unet", "dit", {}, "--arch dit"),
        ("dit", "unet", {}, "--arch unet"),
    ):
        with pytest.raises(UsageError) as refusal:
            child(arch, parents[parent], **changes)
        assert option in f"{refusal.value} {refusal.value.hint}"


def test_all_that_is_different_is_named_at_once(parents: dict[str, Path]) -> None:
    with pytest.raises(UsageError) as refusal:
        child("dit", parents["late"], size=32, width=32, depth=3)
    said = str(refusal.value)
    assert "size 16, not 32, width 16, not 32, label_entry late, not early, depth 2, not 3" in said, said
    assert "Give --size 16 and --width 16 and --label-entry late and depth = 2 in the recipe." in said, said


def test_another_prediction_over_kept_weights_is_warned_of(parents: dict[str, Path], tmp_path: Path) -> None:
    for keep, warned in (("all", True), ("shared", False)):
        recipe = cases.recipe("dit", label_entry="late", classifier=0.5, prediction="flow", keep=keep)
        events = list(train(cases.job(tmp_path / keep, start=str(parents["late"]), recipe=recipe)))
        said = [str(event) for event in events if isinstance(event, TrainingWarning)]
        assert any("predicts epsilon, and this training flow" in text for text in said) == warned, said


@pytest.mark.parametrize("arch", ARCHES)
def test_a_page_says_that_labels_were_compared_before(arch: str, tmp_path: Path) -> None:
    compared = cases.recipe(arch, contrast=0.5)
    list(train(cases.job(tmp_path / "parent", recipe=compared)))
    list(train(cases.job(tmp_path / "child", start=str(tmp_path / "parent"), recipe=cases.recipe(arch))))
    assert "Labels were compared in training" in (tmp_path / "child" / "README.md").read_text()


def test_what_was_not_trained_here_is_no_parent(tmp_path: Path) -> None:
    for name in ("sd1.5", "colours"):
        with pytest.raises(UsageError, match="not a backbone made by bigain train"):
            warm_start(name, cases.recipe())
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(UsageError, match="not a backbone made by bigain train"):
        warm_start(str(tmp_path), cases.recipe())


def test_a_parent_that_lacks_its_network_is_called_incomplete(parents: dict[str, Path], tmp_path: Path) -> None:
    torn = shutil.copytree(parents["unet"], tmp_path / "torn")
    shutil.rmtree(torn / "unet")
    with pytest.raises(ModelError, match="incomplete"):
        warm_start(str(torn), cases.recipe())


def test_its_checkpoint_is_no_part_of_a_model(parents: dict[str, Path], tmp_path: Path) -> None:
    light = shutil.copytree(parents["dit"], tmp_path / "light", ignore=shutil.ignore_patterns("training"))
    wanted = cases.recipe("dit")
    assert (
        warm_start(str(light), wanted).facts()["weights"] == warm_start(str(parents["dit"]), wanted).facts()["weights"]
    )
    assert load(str(light), "cpu").identity == load(str(parents["dit"]), "cpu").identity


def test_the_embedded_model_can_be_a_parent() -> None:
    assert warm_start("mini", Recipe()).card.about["recipe"]["arch"] == "unet"


def test_going_on_ends_at_the_same_weights_though_the_parent_is_gone(parents: dict[str, Path], tmp_path: Path) -> None:
    parent = shutil.copytree(parents["dit"], tmp_path / "parent")
    whole, torn = (cases.job(tmp_path / name, "dit", start=str(parent)) for name in ("whole", "torn"))
    list(train(whole))
    for event in train(torn):
        if type(event).__name__ == "CheckpointSaved":
            break
    stranger = dataclasses.replace(torn, start="")
    with pytest.raises(UsageError, match="--from"):
        list(train(stranger, resume=True))
    shutil.rmtree(parent)
    list(train(torn, resume=True))
    assert ModelCard.read(torn.folder).about["start"] == ModelCard.read(whole.folder).about["start"]
    one, two = (load_checkpoint(checkpoint_of(each.folder)).tensors for each in (whole, torn))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_card_tells_the_parents_and_theirs(parents: dict[str, Path], tmp_path: Path) -> None:
    list(train(cases.job(tmp_path / "child", "dit", start=str(parents["dit"]))))
    list(train(cases.job(tmp_path / "grandchild", "dit", start=str(tmp_path / "child"))))
    about = json.loads((tmp_path / "grandchild" / "bigain.json").read_text())["about"]
    assert about["start"]["start"]["model"] == str(parents["dit"])
    page = (tmp_path / "grandchild" / "README.md").read_text()
    chain = [about, about["start"], about["start"]["start"]]
    images, minutes = (sum(each[key] for each in chain) for key in ("shown", "minutes"))
    assert page.count("Started from") == 2
    assert (
        f"- Training: {images} images, repetitions counted, in {round(minutes, 1):g} minutes and 3 trainings; the last"
        in page
    )


def test_a_backbone_does_not_overwrite_its_parent(parents: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="would be overwritten"):
        list(train(cases.job(parents["dit"], "dit", start=str(parents["dit"])), replace=True))
    assert load(str(parents["dit"]), "cpu") is not None


@pytest.mark.parametrize("arch", ARCHES)
def test_the_classifier_of_the_training_is_kept_by_name(tmp_path: Path, arch: str) -> None:
    late = {"label_entry": "late", "classifier": 0.5}
    list(train(cases.job(tmp_path / "late", recipe=cases.recipe(arch, **late))))
    heir = child(arch, tmp_path / "late", OTHERS, **late)
    tensors = load_checkpoint(checkpoint_of(tmp_path / "late")).tensors
    kept, weights = tensors["average.classifier.linear.weight"], heir.classifier.linear.weight
    for row, name in enumerate(OTHERS):
        if name in cases.CLASSES:
            assert torch.equal(weights[row], kept[cases.CLASSES.index(name)])
    checkpoint_of(tmp_path / "late").unlink()
    fresh = child(arch, tmp_path / "late", OTHERS, **late)
    assert not torch.equal(fresh.classifier.linear.weight, weights), "without the checkpoint it begins anew"
