"""Shell completion: verbs, and for the values of options every known name, and paths where they are taken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import commands
import pytest
from test_command_shell import HEAVY

from bigain_cli.cli import completion
from bigain_cli.compress import OPERATORS, parse
from bigain_cli.generation.samplers import SAMPLERS
from bigain_cli.labels import presets
from bigain_cli.registry import MODELS, SCHEDULES, SCORES

TABLES = {
    completion.models: MODELS,
    completion.labels: presets(),
    completion.schedules: SCHEDULES,
    completion.scores: SCORES,
    completion.samplers: SAMPLERS,
}
ASKING = f"""
import sys
from bigain_cli.cli.exit_codes import run_command
sys.argv = ["bigain"]
try:
    run_command()
finally:
    sys.stderr.write(" ".join(sorted(set(sys.modules) & set({HEAVY}))))
"""


def offered(line: str, cwd: Path) -> list[str]:
    """Return what bash is told after a line's last blank or unfinished word; nothing heavy may be loaded for it."""
    words = {"_BIGAIN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", ASKING], cwd=cwd, env=commands.environment(words), capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a model, weights, label files and other things."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mymodel" / "unet").mkdir(parents=True)
    for name in ("weights.safetensors", "pets.txt", "x.json", "photo.jpg", ".hidden.txt"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("offer", TABLES, ids=lambda offer: getattr(offer, "__name__", ""))
def test_every_name_is_offered_for_each_of_its_beginnings(offer, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in TABLES[offer]:
        for end in range(len(name) + 1):
            values = [value for value, _ in offer(name[:end])]
            assert name in values and all(value.startswith(name[:end]) for value in values)
    assert {value for value, _ in offer("")} == set(TABLES[offer]) and offer("zzz") == []


def test_what_is_offered_as_a_spec_is_one() -> None:
    assert {value.partition(":")[0] for value, _ in completion.specs("")} == {*OPERATORS, "none"}
    for begun in ("", "lg", "lgtm:0.5+", "lgtm:0.5+mlp+iek"):
        values = [value for value, _ in completion.specs(begun)]
        assert values and all(value.startswith(begun) and parse(value) is not None for value in values)


def test_paths_are_offered_where_they_are_taken(place: Path) -> None:
    assert [value for value, _ in completion.models("my")] == ["mymodel/"]
    assert [value for value, _ in completion.models("mymodel/")] == ["mymodel/unet/"]
    assert [value for value, _ in completion.models("w")] == ["weights.safetensors"]
    assert [value for value, _ in completion.labels("p")] == ["pets", "pets.txt"]
    assert [value for value, _ in completion.labels(f"{place}/x")] == [f"{place}/x.json"]
    assert [value for value, _ in completion.labels(".h")] == [".hidden.txt"]
    assert completion.labels("gone/") == []


def test_the_shell_is_answered_without_torch(place: Path) -> None:
    assert offered("bigain cl", place) == ["classify"]
    assert offered("bigain classify -m mi", place) == ["mini", "mini-late", "mini-dit"]
    assert offered("bigain classify photo.jpg -l pe", place) == ["pets", "pets.txt"]
    assert offered("bigain evaluate x -c ie", place) == ["iekvd:2"]
    assert offered("bigain classify --schedule r", place) == ["race"]
    assert offered("bigain evaluate x --score n", place) == ["norm"]
    assert offered("bigain generate --sampler eu", place) == ["euler", "euler-a"]
