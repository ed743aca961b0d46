"""What CONTRIBUTING.md says about adding things is true: each example is one file and one line, and then it works."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from commands import environment
from PIL import Image

from bigain_cli import __version__

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FILES = dict(re.findall(r"<!-- file (\S+) -->\n```python\n(.*?)```", TEXT, re.S))
LINES = re.findall(r"<!-- line (\S+) (\w+) -->\n```python\n(.*?)```", TEXT, re.S)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, without weights, to which the examples were added as the text says."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(
        ROOT / "bigain_cli", root / "bigain_cli", ignore=shutil.ignore_patterns("*.safetensors", "__pycache__")
    )
    shutil.copytree(ROOT / "prompts", root / "prompts")
    for path, code in FILES.items():
        assert not (root / path).exists()
        (root / path).write_text(code)
    for path, table, line in LINES:
        before = (root / path).read_text()
        after = re.sub(rf"^{table}\b.*= {{.*\n", lambda start, line=line: start[0] + line, before, count=1, flags=re.M)
        assert line.count("\n") == 1 and after != before
        (root / path).write_text(after)
    return root


def command(copy: Path, *arguments: str) -> str:
    """Run the command of the copy."""
    env = {**environment(), "PYTHONPATH": str(copy)}
    run = subprocess.run(
        [sys.executable, "-m", "bigain_cli", *arguments], cwd=copy, env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_examples_are_an_output_and_an_operator_in_the_projects_style(copy: Path) -> None:
    assert len(FILES) == len(LINES) == 2
    check = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), *FILES]
    run = subprocess.run(check, cwd=copy, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_the_examples_are_listed_and_do_what_they_say(copy: Path, models, tmp_path: Path) -> None:
    assert "yaml" in command(copy, "list", "outputs") and "neighbours" in command(copy, "list", "operators")
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "grey.png")
    classify = ["classify", str(tmp_path / "grey.png"), "-m", str(models["epsilon"]), "-l", "red,green"]
    arguments = [*classify, "--schedule", "fixed", "--draws", "8", "-c", "neighbours:0.5"]
    command(copy, *arguments, "-o", str(tmp_path / "found.yaml"))
    (record,) = yaml.safe_load((tmp_path / "found.yaml").read_text())
    assert (
        record["settings"]["compress"] == "neighbours:0.5@share=level"
        and record["settings"]["compression"]["saved"] > 0
    )
    assert record == json.loads(command(copy, *arguments, "--jsonl"))


def test_each_line_names_the_code_of_its_file() -> None:
    targets = re.findall(r'"([\w.]+):(\w+)"', "".join(line for _, _, line in LINES))
    assert {module.replace(".", "/") + ".py" for module, _ in targets} == set(FILES)
    assert all(f"class {name}" in FILES[module.replace(".", "/") + ".py"] for module, name in targets)


def test_the_changelog_tells_of_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[:2] == ["Unreleased", __version__]


def test_no_file_that_the_text_names_is_missing() -> None:
    named = set(re.findall(r"`((?:bigain_cli|tests|tools|prompts|docs|\.ci)/[\w./]*)`", TEXT)) - set(FILES)
    assert named and all((ROOT / path).exists() for path in named), named
