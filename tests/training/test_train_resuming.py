"""A training continues by its checkpoint alone: the same job again, and no contradiction to what it was so far."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import train_cases as cases
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import bigain_cli as bigain
from bigain_cli.training.checkpoint import load_checkpoint
from bigain_cli.training.output_folder import checkpoint_of
from bigain_cli.training.resuming import options_record, read_settings, resumed_job

SYNONYMS = {"cat": ["pussy_cat", "kitten"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> bigain.TrainingJob:
    """Carry out a job whose images are files and whose every field is unusual."""
    place = tmp_path_factory.mktemp("place")
    for name in ("cat", "dog"):
        (place / "photos" / name).mkdir(parents=True)
        for number in range(4):
            Image.effect_noise((16, 16), 60 + number).convert("RGB").save(place / "photos" / name / f"{number}.png")
    job = cases.job(
        place / "model",
        recipe=cases.recipe(images=8, seed=3, rate=0.002),
        images=str(place / "photos"),
        held_out=0.25,
        synonyms=SYNONYMS,
        templates=("{}", "my {}"),
        every=8,
        validation=1,
    )
    assert list(bigain.train(job))
    return job


def refusal(folder: Path | str, recipe: dict[str, Any] | None = None, **options: Any) -> str:
    with pytest.raises(bigain.UsageError) as refused:
        resumed_job(folder, recipe, options)
    return str(refused.value)


def changed(job: bigain.TrainingJob, folder: Path, **changes: Any) -> Path:
    """Save the checkpoint of a job, with other metadata, in another folder."""
    target = checkpoint_of(folder)
    target.parent.mkdir(parents=True)
    with safe_open(job.checkpoint, framework="pt") as file:
        settings = json.loads(file.metadata()["training"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    settings |= changes
    kept = {name: value for name, value in settings.items() if value is not None}
    save_file(tensors, target, {"training": json.dumps(kept)})
    return folder


def test_the_job_comes_back_from_its_checkpoint(trained: bigain.TrainingJob) -> None:
    again = resumed_job(trained.folder)
    plain = {"synonyms": {"cat": ["pussy cat", "kitten"]}, "templates": ("{}", "my {}")}  # as prompts have them
    assert again == dataclasses.replace(trained, **plain)
    again.check(resume=True)
    before = trained.checkpoint.read_bytes()
    *_, done = bigain.train(again, resume=True)
    assert isinstance(done, bigain.TrainingDone) and trained.checkpoint.read_bytes() == before


def test_its_settings_are_read_without_its_tensors(trained: bigain.TrainingJob) -> None:
    settings, checkpoint = read_settings(trained.checkpoint), load_checkpoint(trained.checkpoint)
    assert settings == {name: value for name, value in vars(checkpoint).items() if name != "tensors"}
    assert settings["options"] == options_record(trained)


def test_what_the_weights_do_not_depend_on_may_change(trained: bigain.TrainingJob) -> None:
    moved = {"images": "elsewhere", "device": "auto", "every": 16, "validation": 0, "previews": True}
    again = resumed_job(trained.folder, options=moved)
    assert {name: getattr(again, name) for name in moved} == moved
    same = {"held_out": 0.25, "templates": ["{}", "my {}"], "synonyms": SYNONYMS, "start": ""}
    assert resumed_job(trained.folder, {"rate": 0.002, "seed": 3}, same).recipe == trained.recipe


@pytest.mark.parametrize(
    ("recipe", "options", "words"),
    [
        ({"rate": 0.01, "seed": 3}, {}, "(rate 0.002 → 0.01)"),
        ({"arch": "dit", "width": 16}, {}, "(arch unet → dit; width 8 → 16)"),
        ({}, {"held_out": 0.5}, "(held-out 0.25 → 0.5)"),
        ({}, {"held_out": "photos"}, "(held-out 0.25 → photos)"),
        ({}, {"start": "mini"}, "(from random weights → mini)"),
        ({}, {"templates": ["a {}"]}, "(template ['{}', 'my {}'] → ['a {}'])"),
        ({}, {"synonyms": {}}, "(names of cat ['cat', 'pussy cat', 'kitten'] → ['cat'])"),
    ],
)
def test_a_contradiction_is_refused_with_both_values(
    trained: bigain.TrainingJob, recipe: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    said = refusal(trained.folder, recipe, **options)
    assert f"--resume: the training so far had other settings {words}" in said and "--force" in said


def test_held_out_data_may_lie_elsewhere(trained: bigain.TrainingJob, tmp_path: Path) -> None:
    folder = changed(trained, tmp_path, options={"images": "/photos", "held_out": "/exam"})
    assert resumed_job(folder).held_out == "/exam"
    assert resumed_job(folder, options={"held_out": "moved"}).held_out == "moved"
    assert "(held-out /exam → 0.5)" in refusal(folder, held_out=0.5)


def test_an_older_checkpoint_needs_its_images_named(trained: bigain.TrainingJob, tmp_path: Path) -> None:
    folder = changed(trained, tmp_path, options=None)
    assert "does not say where its images are. Name them once more: bigain train DATA --resume" in refusal(folder)
    again = resumed_job(folder, options={"images": trained.images, "held_out": 0.25})
    assert again.synonyms == {"cat": ["pussy cat", "kitten"]} and again.recipe == trained.recipe


def test_images_in_memory_have_no_place() -> None:
    assert "images" not in options_record(cases.job("m")) and "held_out" not in options_record(
        cases.job("m", held_out=cases.toy())
    )


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 9, b"\xff" * 99, b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]", b"\x04\0\0\0\0\0\0\0null"],
)
def test_what_is_no_checkpoint_is_refused(data: bytes, tmp_path: Path) -> None:
    checkpoint_of(tmp_path).parent.mkdir()
    checkpoint_of(tmp_path).write_bytes(data)
    assert "not a checkpoint (" in refusal(tmp_path)
    assert "--resume: no checkpoint in nowhere to continue from" in refusal("nowhere")


@pytest.mark.parametrize("changes", [{"recipe": 3}, {"recipe": {"no": 1}}, {"words": [1]}, {"options": [1]}])
def test_a_checkpoint_of_another_kind_is_refused(
    trained: bigain.TrainingJob, tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert "not a checkpoint (" in refusal(changed(trained, tmp_path, **changes))


def test_other_held_out_images_are_refused(tmp_path: Path) -> None:
    job = cases.job(tmp_path / "x", "dit", held_out=cases.toy(6, 1), validation=1)
    assert list(bigain.train(job))
    with pytest.raises(bigain.UsageError, match="other images than those held out so far"):
        list(bigain.train(dataclasses.replace(job, held_out=cases.toy(6, 2)), resume=True))
    *_, done = bigain.train(job, resume=True)
    assert isinstance(done, bigain.TrainingDone)
