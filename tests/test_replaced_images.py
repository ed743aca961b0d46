"""`--resume` classifies an image again if another one has its name now; the last record of an id counts."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import COLOURS, LABELS, image, warm
from safetensors.torch import save_file

from bigain_cli.images import Source, sha256_of

FIXED = ("--schedule", "fixed", "--draws", "8")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Make a folder with a folder for each class; one image is broken."""
    for turn, colour in enumerate(COLOURS):
        (tmp_path / "photos" / colour).mkdir(parents=True)
        image(tmp_path / "photos" / colour / "0.png", colour, turn)
    (tmp_path / "photos" / "red" / "1.png").write_text("no image")
    return tmp_path


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def run(photos: Path, verb: str, code: int = 0) -> tuple[str, list[dict[str, Any]]]:
    """Run a verb with --resume; return what it said and the records."""
    target = {"classify": ("-o", "x.jsonl", "-r", *LABELS), "evaluate": ("--records", "x.jsonl", "-c", "none")}[verb]
    done = warm(verb, "photos", *FIXED, *target, "--resume", cwd=photos)
    assert done.code == code, done.err
    return done.err, records(photos / "x.jsonl")


@pytest.mark.parametrize("verb", ["classify", "evaluate"])
def test_another_image_under_the_name_is_classified_and_the_others_are_not(photos: Path, verb: str) -> None:
    _, first = run(photos, verb, code=1)
    digests = {path: hashlib.sha256((photos / path).read_bytes()).hexdigest() for path in (r["id"] for r in first)}
    assert {record["id"]: record["sha256"] for record in first} == digests and len(first) == 4
    image(photos / "photos/red/0.png", "blue", 7)  # another image
    shutil.copy(photos / "photos/green/0.png", photos / "photos/red/1.png")  # the broken one is repaired
    (photos / "photos/green/0.png").touch()  # the same image, written again
    said, second = run(photos, verb)
    assert "2 images changed since then" in said or "2 records of images that changed since then" in said
    assert second[:4] == first
    assert {record["id"]: record["label"] for record in second[4:]} == {
        "photos/red/0.png": "blue",
        "photos/red/1.png": "green",
    }
    (photos / "photos/blue/0.png").unlink()  # an image that is gone has its record
    before = (photos / "x.jsonl").read_bytes()
    if verb == "classify":
        said, _ = run(photos, verb)
        assert "changed" not in said and "4 images already recorded" in said and "failures" not in said
        assert (photos / "x.jsonl").read_bytes() == before


@pytest.mark.parametrize("verb", ["classify", "evaluate"])
def test_a_record_without_a_digest_counts_by_its_id(photos: Path, verb: str) -> None:
    _, first = run(photos, verb, code=1)
    old = [{key: value for key, value in record.items() if key != "sha256"} for record in first]
    (photos / "x.jsonl").write_text("".join(json.dumps(record) + "\n" for record in old))
    image(photos / "photos/red/0.png", "blue", 7)
    said, second = run(photos, verb, code=1)
    assert second == old and "changed" not in said


def test_the_last_record_of_an_image_is_the_one_that_an_evaluation_counts(photos: Path) -> None:
    (photos / "photos/red/1.png").unlink()
    run(photos, "evaluate")
    image(photos / "photos/red/0.png", "blue", 7)
    run(photos, "evaluate")
    done = warm("evaluate", "photos", *FIXED, "--records", "x.jsonl", "--resume", "--json", "-c", "none", cwd=photos)
    assert json.loads(done.out)["specs"]["none"]["top1"]["value"] == pytest.approx(2 / 3)
    page = warm(
        "evaluate", "photos", *FIXED, "--records", "x.jsonl", "--resume", "-o", "x.html", "-c", "none", cwd=photos
    )
    assert page.code == 0 and (photos / "x.html").read_text().count("<article") == 3


def test_an_image_in_a_dataset_of_one_file_can_be_replaced_too(tmp_path: Path) -> None:
    def save(*colours: str) -> None:
        for number, colour in enumerate(colours):
            image(tmp_path / f"{number}.png", colour, 3)
        data = [(tmp_path / f"{number}.png").read_bytes() for number in range(len(colours))]
        tensors = {
            "jpeg": torch.frombuffer(bytearray(b"".join(data)), dtype=torch.uint8),
            "offsets": torch.tensor([0, *itertools.accumulate(map(len, data))]),
            "labels": torch.arange(len(data)),
        }
        save_file(tensors, tmp_path / "d.safetensors", {"classes": ",".join(COLOURS)})

    command = ("evaluate", "d.safetensors", *FIXED, "--records", "x.jsonl", "-c", "none", "--resume")
    save("red", "green", "blue")
    assert warm(*command, cwd=tmp_path).code == 0
    save("red", "red", "blue")
    done = warm(*command, cwd=tmp_path)
    assert "1 record of images that changed since then" in done.err
    found = records(tmp_path / "x.jsonl")
    assert [(each["id"], each["label"]) for each in found[3:]] == [("d.safetensors[1]", "red")]


def test_what_has_no_file_has_no_digest(tmp_path: Path) -> None:
    assert sha256_of(Source("x", data=b"")) == hashlib.sha256(b"").hexdigest()
    assert sha256_of(Source("x", path=str(tmp_path / "x"))) == "" and sha256_of(Source("x", path="\0")) == ""
    assert sha256_of(Source("x", path="/dev/null")) is None and sha256_of(Source("x", url="http://x")) is None
