"""`classify --dry-run` counts by the model's card, refuses what the run would, needs no torch and makes nothing."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import warm
from PIL import Image

from bigain_cli.cli.app import run_command_line
from bigain_cli.errors import ModelError, UsageError

CARD: dict[str, Any] = {"templates": ["a photo of a {}."], "score": "vote", "draws": 7}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with an image and a model that lacks its weights."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    (tmp_path / "model" / "unet").mkdir(parents=True)
    (tmp_path / "model" / "bigain.json").write_text(json.dumps(CARD))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "most"),
    [
        ("-l cat,dog,owl", 3 * 7),
        ("-l cat,dog,owl --reject", 4 * 7),
        ("-l cat,dog,owl --draws 9", 3 * 9),
        ("-l cat,dog,owl --budget 5", 5),
        ("-l a,b,c,d,e,f --shortlist some/towers:2", 4 * 7),
        ("-l a,b,c,d,e,f --shortlist some/towers:2 --reject", 5 * 7),
        ("-l cat,dog -c none", 2 * 7),
        ("-l cat,dog -c lgtm:0.5", 2 * 7 + 7),
    ],
)
def test_the_models_own_draws_bound_the_evaluations(arguments: str, most: int, capsys) -> None:
    assert run_command_line(["classify", "a.png", "-m", "model", *arguments.split(), "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["evaluations_at_most"] == most and plan["model"]["present"]


def test_the_models_own_compression_counts(place: Path, capsys) -> None:
    (place / "model" / "bigain.json").write_text(json.dumps({**CARD, "compress": "lgtm:0.5"}))
    for more, most in (([], 2 * 7 + 7), (["-c", "none"], 2 * 7)):
        command = ["classify", "a.png", "-m", "model", "-l", "cat,dog", *more, "--dry-run", "--json"]
        assert run_command_line(command) == 0
        assert json.loads(capsys.readouterr().out)["evaluations_at_most"] == most


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("-l cat,dog -m model --heatmap maps", "maps of the score vote: votes cannot be mapped"),
        ("-l red,blue -m colours --heatmap maps --score vote", "maps of the score vote: votes cannot be mapped"),
        ("-l cat,dog,owl -m model --budget 2", "one draw of all 3 labels takes 3 evaluations"),
        ("-l red,blue -m colours --heatmap a.png", "a.png: exists and is no folder"),
        ("-l red,blue -m colours --heatmap a.png/deep/maps", "a.png/deep/maps: cannot be made"),
    ],
)
def test_what_cannot_be_classified_is_refused(arguments: str, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        run_command_line(["classify", "a.png", *arguments.split(), "--dry-run"])
    assert why in str(refused.value)


def test_it_makes_no_folder_but_wants_the_library(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(place.rglob("*"))
    arguments = ["classify", "a.png", "-l", "cat,dog", "-m", "model", "--score", "l2", "--heatmap", "deep/maps"]
    assert run_command_line([*arguments, "--dry-run"]) == 0
    assert sorted(place.rglob("*")) == before
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="matplotlib plots it"):
        run_command_line([*arguments, "--dry-run"])


def test_a_card_that_cannot_be_read_is_refused(place: Path) -> None:
    (place / "model" / "bigain.json").write_text("{")
    with pytest.raises(ModelError, match="unreadable"):
        run_command_line(["classify", "a.png", "-l", "cat,dog", "-m", "model", "--dry-run"])


def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from bigain_cli.cli.app import run_command_line as run; "
        "run(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    )
    arguments = ["classify", "a.png", "-l", "cat,dog", "-m", "model", "--dry-run"]
    assert subprocess.run([sys.executable, "-c", code, *arguments]).returncode == 0


def test_the_time_a_run_takes_is_evaluations_by_pace_and_workers(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "teal.png")
    command = ("classify", "teal.png", "-m", "colours", "-l", "red,blue", "--draws", "100", "--dry-run")
    shown = warm(*command, "--pace", "50", "--workers", "4", "-o", "results/", cwd=tmp_path).out.decode()
    assert "shards       1 of 256 images" in shown
    assert "50 evaluations/s × 4 workers: at least 1 images/s, at most 1 s" in shown
    some = (*command[:2], "gone.png", *command[2:])
    both = warm(*some, "--workers", "2", "-o", "results/", "--shard-size", "1", cwd=tmp_path).out.decode()
    assert "shards       2 of 1 image\n" in both, "a missing image has a record, too"
    cost = warm(*command, "--pace", "50", "--json", cwd=tmp_path).records[0]["cost"]
    assert (cost["workers"], cost["images_per_second_at_least"], cost["seconds_at_most"]) == (1, 0.25, 4)
    assert warm(*command, "--pace", "0", cwd=tmp_path).code == 2 and not (tmp_path / "results").exists()
    for pace in ("50", "-5"):
        alone = warm(*command[:-1], "--pace", pace, cwd=tmp_path)
        assert alone.code == 2 and "--pace: tells --dry-run how fast a worker is. Add --dry-run." in alone.err


def test_a_tree_without_a_label_is_refused_before_anything_is_loaded(place: Path) -> None:
    (place / "own.json").write_text('{"tree": ["cat"]}')
    with pytest.raises(UsageError, match="has no label 'dog'"):
        run_command_line(["classify", "a.png", "-l", "cat,dog", "-m", "model", "--tree", "own.json", "--dry-run"])


@pytest.mark.parametrize(
    ("count", "arguments", "shortlist"),
    [
        (49, "", None),
        (50, "", "tree"),
        (50, "--reject", "tree"),
        (49, "--reject", None),
        (50, "--shortlist off", "off"),
        (50, "--schedule fixed", None),
        (9, "--shortlist a/b:5", "a/b:5"),
    ],
)
def test_the_shortlist_is_named(count: int, arguments: str, shortlist: str | None, capsys) -> None:
    line = ["classify", "a.png", "-m", "model", "-l", ",".join(f"l{n}" for n in range(count)), *arguments.split()]
    assert run_command_line([*line, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shortlist"] == shortlist
    assert run_command_line([*line, "--dry-run"]) == 0
    shown = f"shortlist    {shortlist}\n" in capsys.readouterr().out
    assert shown == (shortlist not in (None, "off"))
