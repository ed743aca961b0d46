"""The library refuses a training that cannot or should not be done, before it reads or writes anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import train_cases as cases

import bigain_cli as bigain
from bigain_cli.training.output_folder import checkpoint_of


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with images, a user's own file, and folders that hold a training."""
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "photos/cat/a.png": "read by none of these",
        "photos/dog/a.png": "read by none of these",
        "mine/README.md": "mine",
        "trained/bigain.json": json.dumps({"about": {"recipe": {}}}),
        "trained/README.md": "of a training",
        "data/training/cat/a.png": "a data set with a class of that name",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, bool], str]] = {
    "a user's file": ({"folder": "mine"}, {}, r"mine: holds other things \(README.md, …\)"),
    "a user's file, replaced": ({"folder": "mine"}, {"replace": True}, r"mine: holds other things \(README.md, …\)"),
    "a data set": ({"folder": "data"}, {"replace": True}, r"data: holds other things \(training/cat, …\)"),
    "a backbone": ({"folder": "trained"}, {}, "trained: holds a backbone already"),
    "inside the images": (
        {"folder": "photos/model"},
        {},
        "photos/model: inside photos, where it would count as a class",
    ),
    "the images": ({"folder": "photos", "images": Path("photos")}, {"replace": True}, "photos: inside photos"),
    "inside the held-out": ({"folder": "data/m", "held_out": "data"}, {}, "data/m: inside data, where it would"),
    "a file": ({"folder": "mine/README.md"}, {}, "mine/README.md: a file, not a folder"),
    "no images": ({"images": "nowhere"}, {}, "nowhere: no such folder or file"),
    "no held-out": ({"held_out": "nowhere"}, {}, "nowhere: no such folder or file"),
    "more than all": ({"held_out": 2.0}, {}, "--held-out 2: a share is from 0 up to, but not including, 1"),
    "all": ({"held_out": 1}, {}, "--held-out 1: a share"),
    "less than none": ({"held_out": -0.1}, {}, "--held-out -0.1: a share"),
    "no number": ({"held_out": float("nan")}, {}, "--held-out nan: a share"),
    "nothing to validate on": ({"held_out": 0, "validation": 9}, {}, "--validation: no images are held out"),
    "none to validate on": ({"held_out": None, "validation": 9}, {}, "--validation: no images are held out"),
    "templates for classes": ({"arch": "dit", "templates": ("a {}",)}, {}, "--template: a transformer reads class"),
    "no template": ({"templates": ("a thing",)}, {}, "template 'a thing': has no {} for the label"),
    "no checkpoint": ({}, {"resume": True}, "--resume: no checkpoint in model to continue from"),
    "both": ({"folder": "trained"}, {"resume": True, "replace": True}, "--resume --force: one continues"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_training_is_refused_before_anything_is_read_or_written(place: Path, case: str) -> None:
    changes, how, message = REFUSALS[case]
    job = cases.job(**{"folder": "model", "images": "photos", "held_out": 0.1, **changes})
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with pytest.raises(bigain.UsageError, match=message):
        bigain.train(job, **how)  # no event is asked for
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_a_folder_may_be_given_as_text_and_is_replaced_only_with_permission(place: Path) -> None:
    job = cases.job("model", "dit", recipe=cases.recipe("dit", images=4))
    *_, done = bigain.train(job)
    assert done.folder == "model" and bigain.load("./model", "cpu").family == "dit"
    before = checkpoint_of(place / "model").read_bytes()
    with pytest.raises(bigain.UsageError, match="holds a backbone already"):
        bigain.train(job)
    assert checkpoint_of(place / "model").read_bytes() == before
    other = cases.job("model", "dit", recipe=cases.recipe("dit", images=4, seed=1))
    list(bigain.train(other, replace=True))
    assert checkpoint_of(place / "model").read_bytes() != before
