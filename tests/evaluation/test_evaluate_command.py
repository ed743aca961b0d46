"""`bigain evaluate` as its users meet it: tables, files, errors, interruption and resumption."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import COLOURS, start, warm
from PIL import Image

from bigain_cli.outputs.whole_files import held

SLOWLY = ("--schedule", "fixed", "--draws", "8")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate") / "photos"
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.clip(np.array(colour) + generator.normal(0, 40, (9, 9, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def evaluate(photos: Path, *arguments: str, **options: Any) -> Any:
    return warm("evaluate", str(photos), *SLOWLY, *arguments, **options)


def test_a_table_on_stdout_and_nothing_else(photos: Path) -> None:
    result = evaluate(photos, "-c", "none")
    text = result.out.decode()
    assert result.code == 0 and "recommends no compression" in evaluate(photos).err
    assert re.fullmatch(r"bigain: 12 images: 100.0 % right \[75.8, 100.0\], 0 failed, in [\d.]+ s\n", result.err)
    assert "12 images, 3 labels" in text and "100.0 [75." in text and "none" in text
    quiet = evaluate(photos, "-c", "none", "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, result.out, "")


def test_json_has_everything_and_markdown_the_tables(photos: Path, models: dict[str, Path], tmp_path: Path) -> None:
    network = ("-m", str(models["pixels"]), "-c", "none", "-c", "lgtm:0.5", "-c", "tome:0.5@fixed", "--limit", "6")
    document = json.loads(evaluate(photos, *network, "--json").out)
    assert document["pictures"] == 6 and document["against"] == "none" and document["chosen"]["limit"] == 6
    assert len(document["weights"]) == 16 and document["threads"] >= 1 and document["torch"]
    assert list(document["specs"]) == ["none", "lgtm:0.5@share=level", "tome:0.5@fixed@share=level"]
    assert len(document["differences"]) == 3
    for found in document["specs"].values():
        assert np.sum(found["confusion"]) == 6 and found["gflop"] > 0
        assert found["top1"]["low"] <= found["top1"]["value"] <= found["top1"]["high"]
    target = tmp_path / "table.md"
    result = evaluate(photos, *network, "-o", str(target), "--confusion", "--figure", str(tmp_path / "chart"))
    assert result.code == 0 and result.out == b""
    text = target.read_text()
    assert text.count("\n| --- |") == 7 and "McNemar p" in text and "### none: answers" in text
    assert (tmp_path / "chart.png").read_bytes()[:4] == b"\x89PNG"
    chart = (tmp_path / "chart.svg").read_bytes()
    assert b"GFLOP per image" in chart and b"of its difference to none (dashed line), paired" in chart
    assert b"answers given, % of images" in (tmp_path / "chart-risk-coverage.svg").read_bytes()


def test_a_table_fits_eighty_columns_and_wide_has_the_rest(photos: Path, models: dict[str, Path]) -> None:
    specs = ("-m", str(models["pixels"]), "-c", "none", "-c", "lgtm:0.5", "-c", "lgtm:0.5+iekvd:2@levels=all")
    narrow, wide = (evaluate(photos, *specs, "--limit", "3", *more).out.decode() for more in ((), ("--wide",)))
    rows = [line for line in narrow.splitlines() if "   " in line]
    assert len(rows) > 15 and max(map(len, rows)) <= 80
    assert "lgtm:0.5@share=level" not in "".join(rows) and "lgtm:0.5@share=level" in wide
    for column in ("top-5 %", "class mean %", "of these right %", "McNemar p", "GFLOP/eval"):
        assert column in wide and column not in narrow
    refused = evaluate(photos, "--wide", "--json")
    assert refused.code == 2 and "json has everything" in refused.err


def test_answers_below_the_least_probability_are_unsure(photos: Path, tmp_path: Path) -> None:
    records = ("--records", "r.jsonl")
    result = evaluate(photos, "--min-probability", "0.9999", *records, "--json", cwd=tmp_path)
    made = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert all(each["settings"]["min_probability"] == 0.9999 for each in made)
    assert all(each["answer"] == ("unsure" if each["probability"] < 0.9999 else each["label"]) for each in made)
    document = json.loads(result.out)
    found = document["specs"]["none"]["risk_coverage"][-1]
    sure = [each["truth"][0] == each["label"] for each in made if each["probability"] >= 0.9999]
    assert (found["min_probability"], found["answered"], found["right"]) == (0.9999, len(sure), sum(sure))
    again = evaluate(photos, "--min-probability", "0.6", *records, "--resume", "--json", cwd=tmp_path)
    assert "12 records already recorded" in again.err, "records count under any least probability"
    levels = [each["min_probability"] for each in json.loads(again.out)["specs"]["none"]["risk_coverage"]]
    assert levels == [0.5, 0.6, 0.7, 0.9, 0.95]
    report = evaluate(photos, "--min-probability", "0.1", *records, "--resume", "-o", "r.html", cwd=tmp_path)
    assert report.code == 0 and any(each["answer"] == "unsure" for each in made)
    assert 'data-verdict="unsure"' not in (tmp_path / "r.html").read_text(), "as the tables above it"


def test_a_spec_that_compresses_less_than_its_name_says_is_reported_with_its_numbers(
    photos: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    options = ("-m", str(models["pixels"]), "-c", "none", "-c", "lgtm:0.9", "--limit", "2")
    document = json.loads(evaluate(photos, *options, "--records", "r.jsonl", "--json", cwd=tmp_path).out)
    (note,) = document["notes"]["lgtm:0.9@share=level"]
    assert note.startswith("lgtm: ") and " tokens leave at " in note
    assert "none" not in document["notes"]
    text = evaluate(photos, *options, "--records", "r.jsonl", "--resume", "--markdown", cwd=tmp_path).out.decode()
    assert f"lgtm:0.9@share=level: {note}" in text, "also of a run that asks for nothing more"
    occurring = len({record["truth"][0] for record in map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())})
    assert f"of the {occurring} label{'s' * (occurring > 1)} that an image has" in text and occurring < 3
    assert "that an image has" not in evaluate(photos, "-c", "none").out.decode()


def test_five_labels_have_no_top_5(photos: Path) -> None:
    document = json.loads(evaluate(photos, "-c", "none", "--json").out)
    assert document["specs"]["none"]["top5"] is None and document["specs"]["none"]["top1"]["value"] == 1


def test_a_broken_image_is_excluded_for_all_specs_and_reported(photos: Path, tmp_path: Path) -> None:
    for name in ("red", "blue"):
        (tmp_path / "p" / name).mkdir(parents=True)
        (tmp_path / "p" / name / "1.png").write_bytes((photos / name / "1.png").read_bytes())
    (tmp_path / "p/red/broken.png").write_bytes(b"nothing")
    result = warm("evaluate", "p", *SLOWLY, "--records", "r.jsonl", cwd=tmp_path)
    assert (
        result.code == 1
        and b"2 images" in result.out
        and "1 image failed and was excluded for every spec" in result.err
        and "1 image failed and was excluded" in " ".join(result.out.decode().split())
        and "broken.png: " in result.err
    )
    records = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [("error" in record) for record in records] == [False, False, True]
    again = warm("evaluate", "p", *SLOWLY, "--records", "r.jsonl", "--resume", "--json", cwd=tmp_path)
    assert again.code == 1 and "3 records already recorded, 1 of them failures (remove their lines" in again.err
    assert list(json.loads(again.out)["failed"]) == ["p/red/broken.png"]


def test_records_of_another_verb_are_refused(photos: Path, tmp_path: Path) -> None:
    records = str(tmp_path / "r.jsonl")
    assert warm("classify", str(photos), "-r", "-l", "red,green,blue", *SLOWLY, "-o", records).code == 0
    result = evaluate(photos, "-l", "red,green,blue", "--records", records, "--resume")
    assert result.code == 2 and "Traceback" not in result.err and "recorded by another verb" in result.err


@pytest.mark.parametrize("verb", [("classify", "x.png", "-l", "a,b"), ("generate", "red"), ("bench",)])
def test_a_comma_between_specs_is_refused(verb: tuple[str, ...], tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    result = warm(*verb, "-c", "lgtm:0.7,none", cwd=tmp_path)
    assert result.code == 2 and "a comma is no part of a spec. Give one spec" in result.err


def test_a_dataset_of_broken_images_is_reported_too(tmp_path: Path) -> None:
    for name in ("red", "blue"):
        (tmp_path / "p" / name).mkdir(parents=True)
        (tmp_path / "p" / name / "1.png").write_bytes(b"nothing")
    result = warm("evaluate", "p", *SLOWLY, "-o", "t.txt", cwd=tmp_path)
    assert result.code == 1 and "0 images" in (tmp_path / "t.txt").read_text()
    assert "2 images failed and were excluded" in (tmp_path / "t.txt").read_text()
    assert "p/red/1.png: " in result.err and "p/blue/1.png: " in result.err


def test_an_interrupted_run_continues_to_the_same_summary(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "r.jsonl"
    whole = evaluate(photos, "--draws", "256", "--json", "--records", str(tmp_path / "whole.jsonl"))
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    target.write_bytes(b"".join(lines[:5]) + lines[5][:40])  # torn by a kill
    again = evaluate(photos, "--draws", "256", "--json", "--records", str(target), "--resume")
    assert again.code == 0 and "5 records already recorded" in again.err
    one, other = (json.loads(each.out) for each in (whole, again))
    for document in (one, other):
        document["specs"]["none"].pop("seconds")
    assert one == other and len(target.read_bytes().splitlines()) == 12
    other_draws = evaluate(photos, "--draws", "16", "--records", str(target), "--resume")
    assert "0 records already recorded" in other_draws.err


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_classified_and_the_rest_follows_later(photos: Path, tmp_path: Path) -> None:
    for name in COLOURS:
        (tmp_path / "many" / name).mkdir(parents=True)
        for number in range(16):  # three groups of images
            shutil.copy(photos / name / f"{number % 4}.png", tmp_path / "many" / name / f"{number}.png")
    many = ("evaluate", str(tmp_path / "many"), "--schedule", "fixed", "--draws", "1024")
    target = tmp_path / "r.jsonl"
    with start(*many, "--records", str(target)) as process:
        for _ in range(1200):
            if (target.exists() and target.stat().st_size) or process.poll() is not None:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"continue with --resume" in err
    kept = target.read_bytes().splitlines()
    assert 0 < len(kept) < 48
    part = ("--records", str(target), "--resume", "--limit", str(len(kept)))
    assert " ".join(part[2:]).encode() in err
    early = warm(*many, "--json", *part)
    assert (
        early.code == 0 and json.loads(early.out)["pictures"] == len(kept) and target.read_bytes().splitlines() == kept
    )
    again = warm(*many, "--json", "--records", str(target), "--resume")
    assert again.code == 0 and f"{len(kept)} record" in again.err and "already recorded" in again.err
    records = [json.loads(each) for each in target.read_bytes().splitlines()]
    assert target.read_bytes().splitlines()[: len(kept)] == kept
    assert len({record["id"] for record in records}) == len(records) == 48 == json.loads(again.out)["pictures"]


def test_records_of_a_dataset_that_has_changed_are_refused(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "p")
    command = ("evaluate", "p", *SLOWLY, "--records", "r.jsonl")
    assert warm(*command, cwd=tmp_path).code == 0
    text = (tmp_path / "r.jsonl").read_text()
    (tmp_path / "r.jsonl").write_text(text.replace('"truth": ["red"]', '"truth": ["blue"]'))
    assert text != (tmp_path / "r.jsonl").read_text()
    refused = warm(*command, "--resume", cwd=tmp_path)
    assert refused.code == 2 and "the dataset has changed" in refused.err


def test_a_dataset_under_another_name_is_pointed_out(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "p")
    records = ("--records", "r.jsonl", "--resume", *SLOWLY)
    assert warm("evaluate", "p", *records, cwd=tmp_path).code == 0
    other = warm("evaluate", "./p/../p", *records, cwd=tmp_path)
    assert "images are called p/" in other.err and "name the dataset as before" in other.err
    assert "as before" not in warm("evaluate", "p", *records, cwd=tmp_path).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-c", "lgtm:2"), "no ratio"),
        (("--figure", "x.pdf"), "plotted as PNG or SVG only"),
        (("-m", "mini"), "does not know the word"),
        (("-c", "none", "-c", "none"), "given twice"),
        (("-c", "lgtm:0.5,none"), "a comma is no part of a spec"),
        (("--against", "lgtm:0.5"), "not among the specs"),
        (("--resume",), "none are named"),
        (("--records", "r.txt"), "Name a .jsonl file"),
        (("--records", "r.jsonl", "--resume", "--force"), "Choose one"),
        (("-o", "x.pdf"), "names no format"),
        (("-o", ""), "names nothing"),
        (("--generate", "4", "--keep", ""), "--keep '': names nothing"),
        (("--json", "--markdown"), "only one format"),
        (("--json", "-o", "x.md"), "another format"),
        (("-l", "red,green"), "no label for the class 'blue'"),
        (("-l", ""), "labels '': neither a file nor a preset"),
        (("--download",), "no known dataset"),
        (("--min-probability", "0"), "must be above 0 and at most 1"),
        (("--device", "tpu"), "not a device"),
        (("-o", "x.json", "--records", "nowhere/r.jsonl"), "does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused(photos: Path, tmp_path: Path, arguments: Any, message: str) -> None:
    result = evaluate(photos, *arguments, cwd=tmp_path)
    assert result.code == 2 and message in result.err and result.out == b""
    assert "Traceback" not in result.err and list(tmp_path.iterdir()) == []


def test_a_report_shows_every_answer_with_what_would_have_been_right(photos: Path, tmp_path: Path) -> None:
    for name, other in (("red", "blue"), ("blue", "red"), ("green", "green")):  # two in each other's place
        shutil.copytree(photos / name, tmp_path / "mixed" / other)
    target, figure = tmp_path / "r.html", tmp_path / "c.svg"
    result = evaluate(tmp_path / "mixed", "-o", str(target), "--figure", str(figure))
    text = target.read_text()
    assert result.code == 0 and result.out == b"" and figure.exists()
    assert text.count("<article") == 12 and text.count('data-verdict="wrong"') == 8 and text.count("<img") == 36
    assert '<option value="wrong">wrong (8)</option>' in text and "33.3 [" in text and "true: <bdi>green</bdi>" in text


def test_a_figure_has_one_writer(photos: Path, tmp_path: Path) -> None:
    with held(str(tmp_path / "c.png")):
        result = evaluate(photos, "--figure", "c.png", cwd=tmp_path)
    assert result.code == 2 and "c.png: another bigain is writing it" in result.err
    assert list(tmp_path.iterdir()) == []


def test_existing_files_stay(photos: Path, tmp_path: Path) -> None:
    for name in ("r.jsonl", "s.json", "c.png", "d-risk-coverage.png"):
        (tmp_path / name).write_text("mine")
    beside = evaluate(photos, "--figure", "d.png", cwd=tmp_path)
    assert beside.code == 2 and "d-risk-coverage.png: exists" in beside.err and not (tmp_path / "d.png").exists()
    for arguments in (("--records", "r.jsonl"), ("-o", "s.json"), ("--figure", "c.png")):
        result = evaluate(photos, *arguments, cwd=tmp_path)
        assert result.code == 2 and "exists" in result.err
        assert (tmp_path / arguments[1]).read_text() == "mine"
    assert evaluate(photos, "-o", "s.json", "--force", cwd=tmp_path).code == 0
    assert json.loads((tmp_path / "s.json").read_text())["pictures"] == 12
