"""The README's transcript and record are what the command prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

import bigain_cli as bigain

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def test_the_record_in_the_readme_is_the_one_that_is_made() -> None:
    shown = json.loads(re.search(r"```json\n(.*?)```", TEXT, re.S)[1])
    image = Image.new("RGB", (64, 64), "teal")
    made = next(bigain.classify(bigain.load("colours", device="cpu"), [("/tmp/teal.png", image)], "red,green,blue"))
    record = made.to_dict(top=2)
    for key in ("label", "settled", "runner_up", "draws", "evaluations", "settings"):
        assert record[key] == shown[key], key
    assert abs(record["gap"] - shown["gap"]) < 1e-6
    assert f"{record['evaluations']:>8}  /tmp/teal.png" in TEXT, "the table shows the same run"


@pytest.mark.slow
def test_the_generated_horse_is_classified_as_the_readme_shows() -> None:
    row = re.search(r"^(\w+) +([\d.]+)  (\w+) +(\w+) +([\d.]+) \[[^]]+\] +(\d+)  /tmp/horse\.png$", TEXT, re.M)
    label, probability, verdict, runner_up, gap, evaluations = row.groups()
    mini = bigain.load("mini", device="cpu")
    horse = next(iter(bigain.generate(mini, ["a photo of a horse"]))).image
    made = next(bigain.classify(mini, [("/tmp/horse.png", horse)], "cifar10"))
    assert (made.label, made.runner_up) == (label, runner_up) and made.settled == (verdict == "settled")
    assert abs(made.probability - float(probability)) < 0.01 and abs(made.gap - float(gap)) < 1e-4
    assert made.evaluations == int(evaluations)


def test_the_example_in_the_readme_runs(tmp_path: Path, capsys) -> None:
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "teal.png")
    code = next(block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "bigain.load" in block)
    exec(code.replace("/tmp/teal.png", str(tmp_path / "teal.png")), {})
    assert " blue False (" in capsys.readouterr().out


def test_no_file_that_the_text_names_is_missing() -> None:
    named = set(re.findall(r"\b(?:tests|tools|bigain_cli|docs|prompts)/[\w./-]*\w", TEXT))
    assert {"tests/test_naive_loop.py", "tools/benchmark_compress.py"} <= named
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]
