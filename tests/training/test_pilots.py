"""Short trainings that are compared: what they share, and what a pilot changes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pilots
import pytest
import torch
import train_cases as cases

SETTINGS: dict[str, Any] = {
    "label_entry": "late",
    "size": 16,
    "width": 8,
    "batch": 4,
    "warmup": 8,
    "classifier": 0.5,
}
STAGES = {
    "see": {
        "seconds": 0.1,
        "settings": SETTINGS | {"classifier_first": 0.9},
        "pilots": {"first": {}, "moved": {"shift": 2}},
    },
    "dit": {
        "seconds": 0.1,
        "settings": SETTINGS | {"arch": "dit", "width": 16, "depth": 2, "classifier_first": 0.9},
        "pilots": {"first": {}, "deeper": {"depth": 3}},
    },
    "whole": {
        "seconds": 0.1,
        "start": "first",
        "settings": SETTINGS | {"contrast": 0.15, "contrast_labels": 2, "sharpness": 100.0, "contrast_from": 0.5},
        "pilots": {
            "first": {},
            "the same": {},
            "growing": {"sharpness_at_first": 10.0},
            "growing, one product": {"sharpness_at_first": 10.0, "same_product": True},
        },
    },
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilots, "stages", lambda: STAGES)
    monkeypatch.setattr(pilots, "PACE_STEPS", 1)
    monkeypatch.setattr(pilots, "IMAGES", 12)
    monkeypatch.setattr(pilots, "AT_ONCE", 6)
    monkeypatch.setattr(pilots, "read_synonyms", lambda path: {})
    monkeypatch.setattr(pilots, "load_images", lambda path, size: cases.toy(seed=len(path)))


@pytest.fixture
def threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(stage: str, out: Path, only: str = "") -> None:
    pilots.run(argparse.Namespace(stage=stage, train="train", val="validation", out=str(out), only=only))


def test_pilots_are_paired_with_the_first_and_run_once(small: None, threads: None, tmp_path: Path, capsys: Any) -> None:
    run("see", tmp_path)
    run("dit", tmp_path)
    run("whole", tmp_path, "0")
    written = (tmp_path / "whole-00.npz").stat().st_mtime_ns
    run("whole", tmp_path, "0,2")
    assert (tmp_path / "whole-00.npz").stat().st_mtime_ns == written
    assert not (tmp_path / "whole-01.json").exists()
    capsys.readouterr()
    pilots.table(argparse.Namespace(out=str(tmp_path)))
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    names = ["see", "first", "moved", "dit", "first", "deeper", "whole", "first", "growing"]
    assert [row[0].strip() for row in rows] == names
    points = [rows[number][5].strip() for number in (1, 2, 4, 5, 7, 8)]
    assert [each[:1] in ("+", "-") and "[" in each for each in points] == [False, True] * 3
    pilots.plot(argparse.Namespace(out=str(tmp_path), image=str(tmp_path / "losses.svg")))
    assert (tmp_path / "losses.svg").read_text().rstrip().endswith("</svg>")


def test_another_pilot_in_a_finished_ones_place_is_refused(
    small: None, threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="run that first"):
        run("whole", tmp_path, "0")
    run("see", tmp_path, "0")
    changed = {**STAGES, "see": {**STAGES["see"], "pilots": {"moved": {"shift": 2}, "first": {}}}}
    monkeypatch.setattr(pilots, "stages", lambda: changed)
    with pytest.raises(SystemExit, match="has another name"):
        run("see", tmp_path)


def test_the_second_stage_begins_with_what_the_first_has_learnt(small: None, threads: None, tmp_path: Path) -> None:
    run("see", tmp_path, "0")
    start = pilots._start(STAGES["whole"], tmp_path)
    pilot = pilots.Pilot(STAGES["whole"], "first", cases.toy(), start)
    trainable = pilot.training.trainable
    later = {id(weight) for weight in trainable.later_weights()}
    for key, weight in trainable.named_parameters():
        if id(weight) not in later:
            assert torch.equal(weight, start[key]), key
    again = pilots.Pilot(STAGES["whole"], "the same", cases.toy(), start).training.trainable
    for one, other in zip(trainable.later_weights(), again.later_weights(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["growing", "growing, one product"])
def test_a_growing_sharpness_ends_at_the_recipes(name: str, small: None, threads: None) -> None:
    pilot = pilots.Pilot(STAGES["whole"], name, cases.toy(), None)
    pilot.recipe = pilot.training.recipe = pilots.dataclasses.replace(pilot.recipe, images=40, contrast_from=0.0)
    seen = []
    for _ in pilot._steps():
        seen.append((pilot.training.recipe.sharpness, pilot.training.recipe.contrast))
    sharpness, contrast = np.array(seen).T
    assert np.isclose(sharpness[0], 10) and np.allclose(sharpness[5:], 100) and (np.diff(sharpness) >= 0).all()
    product = sharpness * contrast
    assert np.allclose(product, 15) if name.endswith("product") else np.allclose(contrast, 0.15)


def test_noise_is_the_same_for_every_pilot() -> None:
    clean = torch.zeros(2, 12, 8, 8)
    one, other = (list(pilots._draws(clean, (0.1, 0.2), 1000, 7)) for _ in range(2))
    for (t, noise), (again, same) in zip(one, other, strict=True):
        assert torch.equal(t, again) and torch.equal(noise, same)
    assert not torch.equal(one[0][1], one[1][1]) and one[1][0].tolist() == [200, 200]


def test_the_pilots_that_are_kept_are_recipes() -> None:
    from bigain_cli.training.recipe import Recipe

    for stage in pilots.stages().values():
        assert next(iter(stage["pilots"].values())) == {}, "the first changes nothing"
        for changes in stage["pilots"].values():
            Recipe(**{key: value for key, value in {**stage["settings"], **changes}.items() if key not in OWN_KEYS})


OWN_KEYS = ("sharpness_at_first", "same_product")
