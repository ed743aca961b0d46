"""A training keeps its losses in a file, and goes on with them as with its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import train_cases as cases

from bigain_cli.training.job import CheckpointSaved, TrainingProgress
from bigain_cli.training.loss_history import LossHistory
from bigain_cli.training.output_folder import LOSSES, checkpoint_of
from bigain_cli.training.trainer import train

CHANGES = {"images": 40, "contrast_from": 0.5, "classifier": 0.5, "classifier_first": 0.3, "label_entry": "late"}


def lines_in(folder: Path) -> list[dict[str, Any]]:
    text = (checkpoint_of(folder).parent / LOSSES).read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_a_training_that_was_interrupted_has_the_losses_of_one_that_was_not(tmp_path: Path) -> None:
    recipe = cases.recipe(**CHANGES)
    list(train(cases.job(tmp_path / "whole", recipe=recipe, every=8)))
    halved = cases.job(tmp_path / "halved", recipe=recipe, every=8)
    for event in train(halved):
        if isinstance(event, CheckpointSaved) and event.images == 16:
            break
    assert [line["images"] for line in lines_in(tmp_path / "halved")] == [8, 16]
    later = {"images": 24, "error": 9.0, "rate": 1.0, "seconds": 1.0}  # as if of a later checkpoint that is gone
    with (checkpoint_of(tmp_path / "halved").parent / LOSSES).open("a") as file:
        file.write(json.dumps(later) + "\n{")
    list(train(halved, resume=True))
    lines = lines_in(tmp_path / "whole")
    assert lines_in(tmp_path / "halved") == lines
    assert [line["images"] for line in lines] == [8, 16, 24, 32, 40]
    assert ["classifier" in line for line in lines] == [True] * 5
    assert ["error" in line for line in lines] == [False, True, True, True, True]
    assert ["contrast" in line for line in lines] == [False, False, True, True, True]


def test_another_training_in_the_same_folder_begins_its_losses_anew(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    list(train(cases.job(folder, "dit", recipe=cases.recipe("dit", images=16), every=8)))
    list(train(cases.job(folder, "dit", recipe=cases.recipe("dit", images=8), every=8), replace=True))
    assert [line["images"] for line in lines_in(folder)] == [8]


def test_a_line_has_the_means_of_its_steps(tmp_path: Path) -> None:
    recipe = cases.recipe("dit", images=32)
    steps = list(cases.training(recipe).run())
    events = train(cases.job(tmp_path, "dit", recipe=recipe, every=16))
    reports = [event for event in events if isinstance(event, TrainingProgress)]
    for report, part in zip(reports, [steps[:4], steps[4:]], strict=True):
        assert report.error == pytest.approx(sum(float(step.error) for step in part) / 4, rel=1e-5)
        assert report.contrast == pytest.approx(sum(float(step.contrast) for step in part) / 4, rel=1e-5)
    assert [line["error"] for line in lines_in(tmp_path)] == [pytest.approx(each.error, rel=1e-4) for each in reports]


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"[1]\n7\n", b'{"images": "many"}\n', b'{"images": NaN'])
def test_an_unreadable_file_is_no_reason_to_fail(tmp_path: Path, content: bytes) -> None:
    checkpoint = checkpoint_of(tmp_path)
    checkpoint.parent.mkdir()
    (checkpoint.parent / LOSSES).write_bytes(content)
    history = LossHistory(checkpoint, 8)
    history.add(TrainingProgress(16, 32, 0.25, 0.0, 0.0, 1e-3, 10.0), 2.0)
    history.write()
    text = (checkpoint.parent / LOSSES).read_text()
    assert text == '{"images": 16, "error": 0.25, "rate": 0.001, "seconds": 2.0}\n'
