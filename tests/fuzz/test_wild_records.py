"""Wild records of an evaluation that is continued: read and summarised in every form, or refused in words."""

from __future__ import annotations

import io
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzz_cases import check, generator, wild_bytes, wild_json

from bigain_cli.evaluation.records import ExpectedRecords, RecordFile
from bigain_cli.evaluation.report import sections, written
from bigain_cli.evaluation.summary import summarise
from bigain_cli.outputs.html_comparison import ComparisonHtml
from bigain_cli.outputs.output_format import Layout, opened

FAST, ALL = 240, 6_000
LABELS = ("cat", "dog", "owl", "=cmd|x", "a|b\x1b[31m", "unsure")
ABOUT = {
    "dataset": "d",
    "labels": 6,
    "model": "m",
    "weights": "w",
    "schedule": "race",
    "max_draws": 8,
    "score": "l2",
    "seed": 0,
    "dtype": "float32",
    "device": "cpu",
    "threads": 1,
}


def record(number: int, spec: str, multilabel: bool) -> dict[str, Any]:
    """Return a record as `evaluate` writes it."""
    label = LABELS[number % 3]
    top = [
        {"label": each, "probability": 0.4 - 0.05 * k, "score": -0.1 - k, "draws": 8} for k, each in enumerate(LABELS)
    ]
    found: dict[str, Any] = {
        "id": f"{number}.png",
        "label": label,
        "answer": label,
        "probability": 0.4,
        "settled": True,
        "decided": True,
        "runner_up": "owl",
        "gap": 0.01,
        "gap_interval": [0.001, 0.02],
        "top": top[:5],
        "draws": 8,
        "evaluations": 48,
        "settings": {"fingerprint": spec, "compress": spec},
        "truth": [LABELS[number % 2]],
        "seconds": 0.1,
        "gflop": 1.0,
    }
    if number == 3:
        return {name: found[name] for name in ("id", "settings", "truth")} | {"error": {"kind": "x", "message": "no"}}
    if multilabel:
        return found | {"evidence": {each: 0.1 * k for k, each in enumerate(LABELS)}}
    return found | {"rank": 1, "truth_probability": 0.4, "brier": 0.3}


def wild_file(dice: Random, multilabel: bool) -> bytes:
    """Return a file of records, one to three of which are changed, with blank and torn lines at times."""
    lines = [json.dumps(record(number, spec, multilabel)) for number in range(6) for spec in ("none", "lgtm:0.5")]
    for place in dice.sample(range(len(lines)), dice.choice([0, 1, 1, 2, 3])):
        lines[place] = wild_json(dice, json.loads(lines[place]))
    for _ in range(dice.choice([0, 0, 1])):
        lines.insert(dice.randrange(len(lines)), dice.choice(["", " ", "\ufeff", "null", "\0"]))
    data = ("\ufeff" * (dice.random() < 0.1) + "\n".join(lines)).encode("utf-8", "surrogatepass")
    return wild_bytes(dice, data) if dice.random() < 0.15 else data[: dice.choice([None, None, -1, -30])]


def summarised(path: Path, multilabel: bool) -> None:
    """Continue the records, and write everything that can be made of them."""
    specs = {"none": "none", "lgtm:0.5": "lgtm:0.5"}
    truths = {f"{number}.png": [LABELS[number % 2]] for number in range(6)}
    expected = ExpectedRecords(specs, truths, LABELS, multilabel)
    file = RecordFile(str(path), resume=True)
    records, _ = file.read(expected)
    summary = summarise(records, LABELS, "none", ABOUT, min_probability=0.6)
    for form in ("json", "markdown", "table"):
        text = written(summary, form, confusion=True, wide=form == "table")
        assert form != "json" or json.loads(text)
    written(summary, "table", confusion=True)
    page = ComparisonHtml(Layout(LABELS, 5))
    with opened(page, io.BytesIO(), "page"):
        for _, each in file.earlier(expected):
            page.write(each, None)
        page.summarise(sections(summary, confusion=True, wide=True))


def run_case(number: int, place: Path) -> str:
    """Continue one wild file."""
    dice = generator("records", number)
    multilabel = dice.random() < 0.25
    path = place / "records.jsonl"
    path.write_bytes(wild_file(dice, multilabel))
    return check(lambda: summarised(path, multilabel))


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_some_wild_records(tmp_path: Path) -> None:
    assert {run_case(number, tmp_path) for number in range(FAST)} == {"accepted", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_wild_records(part: int, tmp_path: Path) -> None:
    for number in range(FAST + part, ALL, 10):
        run_case(number, tmp_path)
