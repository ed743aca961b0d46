"""Inputs of which none is there: a record for each, at once, and no model is loaded; one that is there changes that."""

from __future__ import annotations

import json
from pathlib import Path

import commands
import pytest
from commands import LABELS, warm
from test_command_shell import answers

from bigain_cli.errors import InputError
from bigain_cli.images import Source, look_ahead


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with an image, an empty folder, and lists of missing images."""
    commands.image(tmp_path / "photo.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "gone.txt").write_text("gone.jpg\nlost.jpg\n")
    (tmp_path / "nothing.txt").write_text("")
    return tmp_path


MISSING = {
    "gone.jpg": {"gone.jpg": "not-found"},
    "*.png": {"*.png": "no-match"},
    "ftp://a.org/x.jpg": {"ftp://a.org/x.jpg": "unsupported-url"},
    "https://me:secret@a.org/x.jpg": {"https://a.org/x.jpg": "offline"},
    "empty lost.jpg --files-from gone.txt": {"empty": "no-images", "lost.jpg": "not-found", "gone.jpg": "not-found"},
    "--files-from nothing.txt": {},
}


def test_nothing_is_loaded_for_what_is_not_there(place: Path) -> None:
    requests = [["classify", *line.split(), *LABELS, "--jsonl"] for line in MISSING]
    for (line, kinds), (code, out, err, heavy) in zip(MISSING.items(), answers(requests, place), strict=True):
        records = [json.loads(each) for each in out.splitlines()]
        assert {record["id"]: record["error"]["kind"] for record in records} == kinds, line
        assert all(record.keys() == {"id", "error"} for record in records)
        assert (code, heavy) == (1 if kinds else 0, []), (line, err)
        assert f"{len(kinds)} failed in " in err and "secret" not in out + err


def test_folders_without_an_image_are_refused(place: Path) -> None:
    (place / "above" / "below").mkdir(parents=True)
    requests = [["classify", *folders, *LABELS, "--jsonl"] for folders in (["empty"], ["empty", "above"], ["above"])]
    found = answers(requests, place)
    assert all((code, out, heavy) == (2, "", []) for code, out, _, heavy in found)
    assert all("no image file in this folder" in err and err.count("\n") == 1 for _, _, err, _ in found)
    assert ["-r" in err for _, _, err, _ in found] == [False, False, True], "only where there are subfolders"


@pytest.mark.parametrize("suffix", ["json", "csv", "tsv", "txt", "html"])
def test_every_format_has_them(place: Path, suffix: str) -> None:
    ((code, out, _, heavy),) = answers([["classify", "gone.jpg", "empty", *LABELS, "-o", f"x.{suffix}"]], place)
    assert (code, out, heavy) == (1, "", [])
    text = (place / f"x.{suffix}").read_text()
    assert "no such file or folder" in text and "no image file in this folder" in text


def test_a_missing_image_among_others_is_a_record_in_its_place(place: Path) -> None:
    done = warm("classify", "gone.jpg", "photo.jpg", "empty", *LABELS, "--jsonl", cwd=place)
    assert [(record["id"], "error" in record) for record in done.records] == [
        *(("gone.jpg", True), ("photo.jpg", False), ("empty", True)),
    ]
    assert done.code == 1 and all(record["settings"]["fingerprint"] for record in done.records)


def test_a_resumed_file_knows_its_missing_images(place: Path) -> None:
    """The records of failures have the fingerprint of the run, so that they are not repeated."""
    command = ("classify", "gone.jpg", *LABELS, "-o", "x.jsonl", "--resume")
    for _ in range(2):
        assert warm(*command, cwd=place).code == 1
        assert len((place / "x.jsonl").read_text().splitlines()) == 1


def test_failures_of_other_inputs_in_a_resumed_file_are_not_those_of_this_run(place: Path) -> None:
    command = ("classify", *LABELS, "-o", "days.jsonl", "--resume")
    assert warm(*command, "gone.jpg", cwd=place).code == 1
    today = warm(*command, "photo.jpg", cwd=place)
    assert today.code == 0 and "1 image already recorded, 1 of them failures" in today.err
    assert " failed;" not in today.err
    both = warm(*command, "gone.jpg", "photo.jpg", cwd=place)
    assert both.code == 1 and "1 of 2 images failed" in both.err


def test_a_file_is_not_continued_with_other_fields(place: Path) -> None:
    command = ("classify", "photo.jpg", "-l", "red,green,blue", "-o", "fields.jsonl", "--resume", "--top", "2")
    assert warm(*command, cwd=place).code == 0
    for change, said in (
        (("--top", "1"), "has 2 labels of its image, and this run would write 1 (--top)"),
        (("--top", "3"), "has 2 labels of its image, and this run would write 3 (--top)"),
        (("--timing",), "has no seconds (--timing)"),
    ):
        done = warm(*command, *change, cwd=place)
        assert done.code == 2 and f"fields.jsonl, line 1: {said}" in done.err, done.err
    assert warm(*command, cwd=place).code == 0 and len((place / "fields.jsonl").read_text().splitlines()) == 1


def test_wrong_labels_are_refused_first(place: Path) -> None:
    ((code, out, err, _),) = answers([["classify", "gone.jpg", "-l", "red,zebra", "--jsonl"]], place)
    assert (code, out) == (2, "") and "'zebra'" in err


def test_inspect_refuses_what_it_cannot_show(place: Path) -> None:
    refusals = {
        ("gone.jpg",): (1, "gone.jpg: no such file or folder"),
        ("empty",): (2, "no image file in this folder"),
        ("photo.jpg", "-c", "none"): (2, "compression 'none': there is nothing to inspect"),
        ("https://a.org/x.jpg",): (1, "offline mode is on"),
    }
    found = answers([["inspect", *arguments, "-m", "mini"] for arguments in refusals], place)
    for (code, words), (found_code, out, err, heavy) in zip(refusals.values(), found, strict=True):
        assert (found_code, out, heavy) == (code, "", []) and words in err and err.count("\n") == 1


def test_evaluate_refuses_a_dataset_that_is_not_there(place: Path) -> None:
    refusals = {"gone": "no such folder or file", "petz:gone": "Did you mean pets?", "empty": "empty"}
    found = answers([["evaluate", name, "-m", "mini"] for name in refusals], place)
    for words, (code, out, err, heavy) in zip(refusals.values(), found, strict=True):
        assert (code, out, heavy) == (2, "", []) and words in err and err.count("\n") == 1


def test_repeated_inputs_are_classified_once_and_said(place: Path) -> None:
    (place / "list.txt").write_text("photo.jpg\n./photo.jpg\nphoto.jpg\n")
    done = warm("classify", "photo.jpg", "--files-from", "list.txt", *LABELS, "--jsonl", cwd=place)
    assert [record["id"] for record in done.records] == ["photo.jpg", "./photo.jpg"]
    assert "bigain: 2 inputs were named more than once; each is classified once\n" in done.err
    assert "more than once" not in warm("classify", "photo.jpg", *LABELS, "--jsonl", cwd=place).err


def test_no_source_beyond_the_first_that_is_there_is_asked_for() -> None:
    gone, here = Source("gone", error=InputError("not-found", "gone")), Source("here", path="here")
    asked = []

    def sources(given: list[Source]):
        for source in given:
            asked.append(source.id)
            yield source

    again, found = look_ahead(sources([gone, here, gone]))
    assert found and asked == ["gone", "here"] and list(again) == [gone, here, gone]
    again, found = look_ahead(sources([gone, gone]))
    assert not found and list(again) == [gone, gone]
