"""Shards: the records of many processes, put together, are those of one; what is there is never done again or lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commands import gallery, image, start, warm
from hypothesis import given
from hypothesis import strategies as st
from stub_job import SETTINGS, StubJob, record_of, stub_run

from bigain_cli.cli.sharded_run import of_share
from bigain_cli.engines.this_process import run_here
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.json import line
from bigain_cli.outputs.locks import lock
from bigain_cli.shards.gathering import Gathering
from bigain_cli.shards.journal import open_journal
from bigain_cli.shards.manifest import (
    Shard,
    all_ids,
    decoded,
    encoded,
    manifest_of,
    read_ids,
    shards,
    write_or_compare,
)
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import Making, begin, join, read_record
from bigain_cli.shards.run_status import status_of
from bigain_cli.shards.shard_work import Piece, work

COLOURS = ("-l", "red,green,blue", "-m", "colours")
IDS = [f"{number}.png" for number in range(21)]


def gathered(folder: RunFolder) -> bytes:
    return b"".join(line(record) + b"\n" for record in Gathering.of(folder, partial=False).records())


def whole(ids: list[str]) -> bytes:
    return b"".join(line(record_of(id)) + b"\n" for id in ids)


def run_all(folder: RunFolder, job: Any = StubJob()) -> None:  # noqa: B008 (frozen)
    size = read_record(folder).shard_size
    for _ in run_here(job, folder, shards(folder.manifest, size)):
        pass


# The manifest.


@given(st.text())
def test_any_id_is_one_line_and_comes_back(id: str) -> None:
    assert encoded(id).count(b"\n") == 1 and encoded(id).endswith(b"\n") and decoded(encoded(id)) == id


def test_ids_that_are_no_text_come_back() -> None:
    for id in (os.fsdecode(b"\xff.png"), "a\nb.png", "a\r", '"a"', " a ", "", "\u2028"):
        assert encoded(id).count(b"\n") == 1 and decoded(encoded(id)) == id


@pytest.mark.parametrize("size", [1, 4, 7, 21, 100])
def test_shards_are_every_line_once_in_order(size: int, tmp_path: Path) -> None:
    ids = [*IDS[:20], "a\nb"]
    manifest = write_or_compare(tmp_path / "manifest.txt", iter(ids))
    found = list(shards(tmp_path / "manifest.txt", size))
    assert [id for shard in found for id in read_ids(tmp_path / "manifest.txt", shard)] == ids
    assert [shard.number for shard in found] == list(range(len(found))) and manifest.count == 21
    assert list(all_ids(tmp_path / "manifest.txt")) == ids


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ([*IDS[:3], "other.png", *IDS[4:]], "line 4: had '3.png' when the run began, and now 'other.png'"),
        (IDS[:-1], "line 21: had '20.png' when the run began, and now no such line"),
        ([*IDS, "more.png"], "line 22: had no such line when the run began, and now 'more.png'"),
    ],
)
def test_a_changed_manifest_is_refused_with_the_first_line_that_differs(now, said: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.txt"
    first = write_or_compare(path, iter(IDS))
    assert write_or_compare(path, iter(IDS)) == first
    with pytest.raises(UsageError) as refused:
        write_or_compare(path, iter(now))
    assert said in str(refused.value)


def test_of_two_that_list_at_the_same_time_the_first_counts_and_the_other_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "manifest.txt"

    def slowly(faster: list[str]) -> Iterator[str]:
        yield from IDS[:5]
        write_or_compare(path, iter(faster))
        yield from IDS[5:]

    assert write_or_compare(path, slowly(IDS)) == manifest_of(path)
    path.unlink()
    with pytest.raises(UsageError, match="another process has listed other images at the same time"):
        write_or_compare(path, slowly(IDS[1:]))
    assert list(all_ids(path)) == IDS[1:] and os.listdir(tmp_path) == ["manifest.txt"]


# A shard.


def test_a_part_is_whole_or_absent(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    first = next(shards(folder.manifest, 8))
    steps = work(folder, Piece(first), StubJob().start(0))
    for expected in range(8):
        while next(steps) is None:
            assert not folder.is_done(first)
        assert folder.journal(0).read_bytes() == whole(IDS[: expected + 1])
    assert list(steps) == [] and folder.part(0).read_bytes() == whole(IDS[:8]) and not folder.journals()


@pytest.mark.parametrize("torn", [b"", b'{"id": "2', b'{"id"', b"\0\0\0"])
def test_a_shard_goes_on_where_it_was_stopped(torn: bytes, tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    folder.journal(0).write_bytes(whole(IDS[:2]) + torn)
    made = [record for record in work(folder, Piece(next(shards(folder.manifest, 8))), StubJob().start(0)) if record]
    assert [record["id"] for record in made] == IDS[2:8]
    run_all(folder)
    assert gathered(folder) == whole(IDS)


def test_a_journal_of_other_images_becomes_no_part(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    folder.journal(0).write_bytes(whole(IDS[1:3]))
    with pytest.raises(BigainError, match=r"part-000000.jsonl, line 1: not the record that belongs there"):
        run_all(folder)
    assert not folder.parts()


def test_a_shard_that_another_process_has_is_refused_after_a_while(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    shard = next(shards(folder.manifest, 8))
    with open_journal(folder, shard, IDS[:8], 0), pytest.raises(UsageError, match="another bigain is writing it"):
        list(work(folder, Piece(shard), StubJob().start(0), patience=0.1))


def test_whoever_waits_for_a_shard_finds_it_done_and_adds_nothing(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    shard = next(shards(folder.manifest, 8))
    waiting = os.open(folder.journal(0), os.O_RDWR | os.O_CREAT)  # as one that has opened it a moment before
    list(work(folder, Piece(shard), StubJob().start(0)))
    assert lock(waiting)
    assert list(work(folder, Piece(shard), StubJob().start(0))) == []
    os.close(waiting)
    assert folder.part(0).read_bytes() == whole(IDS[:8]) and not folder.journals()


# The run.


@given(st.integers(1, 30), st.integers(1, 5))
def test_shares_are_all_shards_once(size: int, of: int) -> None:
    every = [Shard(number, 0, 1) for number in range(size)]
    parts = [list(of_share(iter(every), (number, of))) for number in range(1, of + 1)]
    assert sorted((shard for part in parts for shard in part), key=lambda shard: shard.number) == every


def test_another_way_to_make_records_is_refused_and_another_device_is_one_warning(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    making = StubJob().start(0).making
    assert join(folder, making).warnings == ()
    for change, said in (
        ({"settings": {**SETTINGS, "fingerprint": "4567"}}, "other weights"),
        ({"settings": {**SETTINGS, "model": "large"}}, "this run has model 'stub', and here it is 'large'"),
        ({"versions": {"stub": "2"}}, "this run has stub '1', and here it is '2'"),
        ({"batch": 16}, "batches of 8"),
    ):
        with pytest.raises(UsageError, match=said):
            join(folder, Making(**{**vars(making), **change}))
    other = Making(**{**vars(making), "device_kind": "H200", "batch": 64})
    for _ in range(2):
        assert len(join(folder, other).warnings) == 1
    assert read_record(folder).device_kinds == ("stub", "H200") and status_of(folder).warnings


def test_another_shard_size_and_an_edited_manifest_are_refused(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    manifest = write_or_compare(folder.manifest, iter(IDS))
    assert begin(folder, manifest, None).shard_size == begin(folder, manifest, 8).shard_size == 8
    with pytest.raises(UsageError, match="this run has shards of 8"):
        begin(folder, manifest, 9)
    folder.manifest.write_text("a\n")
    with pytest.raises(UsageError, match="was changed after the run began"):
        begin(folder, write_or_compare(folder.manifest, iter(["a"])), None)


def test_a_run_whose_record_or_manifest_is_lost_is_refused(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    run_all(folder)
    kept, manifest = folder.read_record(), folder.write_manifest(IDS)
    (folder.path / "run.json").unlink()
    with pytest.raises(UsageError, match=r"run.json: is gone"):  # a new one would count 8 records as 21
        begin(folder, manifest, None)
    (folder.path / "run.json").write_bytes(kept)
    folder.manifest.write_bytes(b"")
    with pytest.raises(UsageError, match=r"manifest.txt: was changed after the run began"):
        Gathering.of(folder, partial=True)


def test_gathering_refuses_what_is_missing_or_was_edited(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    run_all(folder)
    kept = folder.part(1).read_bytes()
    folder.part(1).unlink()
    with pytest.raises(BigainError, match=r"1 of 3 parts missing, the first: part-000001.jsonl"):
        Gathering.of(folder, partial=False)
    assert len(list(Gathering.of(folder, partial=True).records())) == 13
    lines = kept.splitlines(keepends=True)
    for edited, said in (
        (b"".join(lines[1:]), "has 7 records, not 8"),
        (b"".join([lines[1], *lines[1:]]), "not the record of '8.png'"),
        (kept[:-4], "not the record of '15.png'"),
        (kept.replace(b"0123", b"4567"), "other settings"),
    ):
        folder.part(1).write_bytes(edited)
        with pytest.raises(BigainError, match=said):
            gathered(folder)


def test_the_status_counts_without_notes_as_with_them(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    assert (status_of(folder).done, status_of(folder).images_per_second) == (0, None)
    folder.journal(0).write_bytes(whole(IDS[:3]))
    found = status_of(folder)
    assert (found.under_way, found.shards_under_way, found.images, found.shards) == (3, 1, 21, 3)
    run_all(folder)
    folder.part(2).unlink()
    found = status_of(folder)
    assert (found.done, found.shards_done) == (16, 2) and found.images_per_second and found.seconds_left
    with (folder.path / ".notes.jsonl").open("ab") as notes:
        notes.write(b'{"part": 0, "settled": "x"}\n[1]\n{"part": 1, "set')
    assert status_of(folder).done == 16
    (folder.path / ".notes.jsonl").unlink()
    assert status_of(folder).done == 16


def test_the_speed_is_that_of_the_last_minutes_also_where_shards_take_longer(tmp_path: Path) -> None:
    """A shard that took an hour, and one under way since half an hour, both at eight images in 2,560 seconds."""
    folder, now = stub_run(tmp_path / "run", IDS), time.time()
    run_all(folder)
    folder.part(2).unlink()
    folder.part(1).unlink()
    folder.journal(1).write_bytes(whole(IDS[8:12]))
    ended = {"settled": 8, "open": 0, "failed": 0, "unsure": 0, "made": 8, "seconds": 2560, "at": now - 0.1}
    notes = [{"part": 0, **ended}, {"part": 1, "earlier": 0, "at": now - 1280}]
    (folder.path / ".notes.jsonl").write_bytes(b"".join(line(note) + b"\n" for note in notes))
    found = status_of(folder)
    assert found.images_per_second == pytest.approx(2 * 8 / 2560, rel=0.01)
    assert found.seconds_left == pytest.approx((21 - 8 - 4) / (2 * 8 / 2560), rel=0.01)
    os.utime(folder.journal(1), (now - 700, now - 700))
    assert status_of(folder).images_per_second == pytest.approx(8 / 2560, rel=0.01), "nobody works on it"


def test_a_journal_with_too_many_records_is_refused(tmp_path: Path) -> None:
    folder = stub_run(tmp_path / "run", IDS)
    folder.journal(0).write_bytes(whole(IDS[:8] + IDS[:2]))
    with pytest.raises(BigainError, match="line 9: not the record that belongs there"):
        run_all(folder)


# The command.


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, one of them broken, and what a plain run makes of them."""
    folder = tmp_path_factory.mktemp("shards")
    gallery(folder / "photos", 10)
    (folder / "photos" / "05.png").write_bytes(b"no image")
    image(folder / os.fsdecode(b"\xff\n.png"), turn=3)
    (folder / "list").write_bytes(b"photos\0gone.png\0\xff\n.png\0")
    for name in ("plain.jsonl", "plain.csv"):
        assert warm("classify", "--files-from", "list", "-0", *COLOURS, "-o", name, cwd=folder).code == 1
    return folder


def test_shares_gathered_are_a_plain_run_to_the_byte(place: Path) -> None:
    for share in ("2/2", "1/2", "2/2"):
        done = warm(
            "classify", "--files-from", "list", "-0", *COLOURS, "-o", "new/", "--shard", share, "--shard-size", "4",
            cwd=place,
        )  # fmt: skip
        assert done.code == 1 and "Traceback" not in done.err, done.err
    assert "4 recorded earlier → new" in done.err
    for suffix in ("jsonl", "csv"):
        assert warm("gather", "new", "-o", f"all.{suffix}", cwd=place).code == 0
        assert (place / f"all.{suffix}").read_bytes() == (place / f"plain.{suffix}").read_bytes()
    planned = warm("classify", "photos", *COLOURS, "-o", "new/", "--shard", "1/2", "--dry-run", cwd=place)
    assert b"3 of 4 images" in planned.out  # as the run has them
    status = json.loads(warm("status", "new/", "--json", cwd=place).out)
    assert (status["images"], status["done"], status["failed"], status["shards_done"]) == (12, 12, 2, 3)
    assert b"12 of 12 images (100.0 %), in 3 of 3 parts" in warm("status", "new/", cwd=place).out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "x/", "--shard", "0/4"), "--shard 0/4: is no share"),
        (("-o", "x/", "--shard", "5/4"), "--shard 5/4: is no share"),
        (("-o", "x/", "--shard", "1/4", "--workers", "2"), "one is a share of the work, the other all of it"),
        (("-o", "x/", "--engine", "spark"), "--engine spark: no such engine"),
        (("-o", "x.jsonl", "--shard", "1/4"), "-o x.jsonl: a file"),
        (("--shard", "1/4"), "the results need a folder"),
        (("-o", "x.jsonl", "--shard-size", "4"), "--shard-size: is about a folder"),
        (("-o", "x/", "--shard", "1/4", "--csv"), "--csv: a folder of results"),
        (("-o", "x/", "--shard", "1/4", "--force"), "--force: is not for a folder"),
        (("-o", "photos/", "--shard", "1/1"), "holds other files"),
        (("-o", "x/", "--shard", "1/1", "-"), "stdin cannot be read by several workers"),
        (("-o", "x/", "--shard", "1/1", "https://me:secret@host/x.png"), "its password would be written"),
    ],
)
def test_options_that_contradict_are_refused(options: tuple[str, ...], said: str, place: Path) -> None:
    done = warm("classify", "photos", *COLOURS, *options, cwd=place, env={"HF_HUB_OFFLINE": "0"})
    assert done.code == 2 and said in done.err and b"secret" not in done.out, done.err


def test_folders_without_any_image_are_refused(place: Path) -> None:
    (place / "none").mkdir(exist_ok=True)
    done = warm("classify", "none", "none", *COLOURS, "-o", "empty/", "--workers", "2", cwd=place)
    assert done.code == 2 and "no image file in this folder" in done.err
    assert not (place / "empty").exists()


@pytest.mark.parametrize(
    ("names", "spread"),
    [
        (("gone.png",), ("--workers", "2")),
        (("none", "gone.png", "*.gif"), ("--shard", "1/1")),
        (("https://example.org/a.png", "gone.png"), ("--workers", "1")),
    ],
)
def test_inputs_that_are_all_missing_have_the_records_of_a_plain_run(names, spread, place: Path, tmp_path) -> None:
    (tmp_path / "none").mkdir()
    command = ("classify", *names, *COLOURS, "--min-probability", "0.5")
    plain = [warm(*command, "-o", f"plain.{suffix}", cwd=tmp_path).code for suffix in ("jsonl", "csv")]
    shared = warm(*command, "-o", "new/", *spread, "--shard-size", "2", cwd=tmp_path)
    assert plain == [1, 1] and shared.code == 1 and f"{len(names)} failed" in shared.err, shared.err
    for suffix in ("jsonl", "csv"):
        assert warm("gather", "new", "-o", f"all.{suffix}", cwd=tmp_path).code == 0
        assert (tmp_path / f"all.{suffix}").read_bytes() == (tmp_path / f"plain.{suffix}").read_bytes()
    image(tmp_path / "gone.png")
    (tmp_path / "new" / "part-000000.jsonl").unlink()
    again = warm(*command, "-o", "new/", *spread, cwd=tmp_path)
    assert again.code == 2 and "none of its images was there when this run began" in again.err


def test_other_options_are_refused_by_what_differs_also_once_a_run_is_finished(place: Path) -> None:
    command = ("classify", "photos", "-m", "colours", "-o", "seeds/", "--shard", "1/1", "-l")
    assert warm(*command, "red,green,blue", cwd=place).code == 1
    for _ in range(2):
        for change, said in (
            (("red,green,blue", "--seed", "1"), "this run has seed 0, and here it is 1"),
            (("red,green,blue", "--draws", "8"), "this run has max_draws 256, and here it is 8"),
            (("red,green,blue", "--error-in", "sample"), "this run has error_in None, and here it is 'sample'"),
            (("red,green,blue", "-c", "lgtm:0.5"), "this run has compress 'none', and here it is 'lgtm:0.5'"),
            (("red,green,blue", "--dtype", "bfloat16"), "and here it is 'bfloat16'"),
            (("red,green,blue", "--shortlist", "tree"), "this run has shortlist None, and here it is 'tree'"),
            (("red,green,pink",), "label 3 of this run is 'blue', and here it is 'pink'"),
        ):
            refused = warm(*command, *change, cwd=place)
            assert refused.code == 2 and said in refused.err, refused.err
        (place / "seeds" / "part-000000.jsonl").unlink(missing_ok=True)


def test_options_that_are_left_out_are_refused_like_others(place: Path) -> None:
    command = ("classify", "photos/00.png", "-m", "mini-late", "-o", "left-out/", "--shard", "1/1", "-l", "cat,dog")
    fewer = ("--draws", "8", "--times", "0.02:0.2", "--score", "l1", "--views", "none")
    assert warm(*command, *fewer, cwd=place).code == 0
    for left_out, said in (
        (0, "this run has max_draws 8, and here it is 32"),
        (2, "this run has times [0.02, 0.2], and here it is None"),
        (4, "this run has score 'l1', and here it is 'norm'"),
        (6, "this run has views None, and here it is 'mirror+move:1'"),
    ):
        refused = warm(*command, *fewer[:left_out], *fewer[left_out + 2 :], cwd=place)
        assert refused.code == 2 and said in refused.err, refused.err


def test_other_prompts_under_the_same_names_are_refused(place: Path) -> None:
    command = ("classify", "photos/00.png", "-m", "mini-late", "-o", "words/", "--shard", "1/1", "--draws", "8", "-l")
    for word in ("cat", "kitten"):
        (place / f"{word}.csv").write_text(f"prompt,classname,classidx\na {word},cat,0\na dog,dog,1\n")
    assert warm(*command, "cat.csv", cwd=place).code == 0
    assert warm(*command, "cat.csv", cwd=place).code == 0
    refused = warm(*command, "kitten.csv", cwd=place)
    assert refused.code == 2 and "this run has prompts" in refused.err, refused.err


def test_another_tree_is_refused_also_once_a_run_is_finished(place: Path) -> None:
    command = ("classify", "photos/00.png", "-m", "colours", "-o", "trees/", "--shard", "1/1", "-l", "red,green,blue")
    tree = place / "mine.json"
    tree.write_text('{"tree": [["red", "green"], ["blue"]]}')
    assert warm(*command, "--tree", "mine.json", cwd=place).code == 0
    tree.write_text('{"tree": {"a": ["red", "green"], "b": ["blue", "cup"]}}')  # the same groups of these labels
    assert warm(*command, "--tree", "mine.json", cwd=place).code == 0
    assert warm(*command[:-1], "red,green,blue,none", "--reject", "--tree", "mine.json", cwd=place).code == 2
    rejecting = (*command[:5], "rejecting/", *command[6:-1], "red,green,none", "--reject", "--tree", "mine.json")
    assert warm(*rejecting, cwd=place).code == 0 == warm(*rejecting, cwd=place).code, "none is in no tree"
    tree.write_text('{"tree": [["red"], ["green", "blue"]]}')
    for change in (("--tree", "mine.json"), ("--shortlist", "tree")):
        refused = warm(*command, *change, cwd=place)
        assert refused.code == 2 and "this run has tree" in refused.err, refused.err


def test_gather_writes_as_many_labels_as_the_run_was_asked_for(place: Path) -> None:
    command = ("classify", "photos/00.png", "-l", "red,green,blue,pink,black,white,grey", "-m", "colours")
    for folder, top in (("seven", ("--top", "7")), ("usual", ())):
        assert warm(*command, "-o", f"{folder}/", "--shard", "1/1", *top, cwd=place).code == 0
        for suffix in ("jsonl", "csv", "parquet") if top else ("jsonl",):
            assert warm(*command, *top, "-o", f"{folder}.{suffix}", cwd=place).code == 0
            assert warm("gather", folder, "-o", f"{folder}-all.{suffix}", cwd=place).code == 0
            plain, gathered = ((place / f"{folder}{end}.{suffix}").read_bytes() for end in ("", "-all"))
            assert plain == gathered
    fewer = warm("gather", "seven", "-o", "two.jsonl", "--top", "2", cwd=place)
    assert fewer.code == 0 and len(json.loads((place / "two.jsonl").read_text())["top"]) == 2
    more = warm("gather", "usual", "-o", "more.csv", "--top", "6", cwd=place)
    assert more.code == 2 and "--top 6: the run has recorded 5 labels of each image" in more.err


def test_a_gathering_that_is_refused_leaves_no_file_and_keeps_the_one_that_was_there(place: Path) -> None:
    assert warm("classify", "photos", *COLOURS, "-o", "torn/", "--shard", "1/1", "--shard-size", "4", cwd=place).code
    (place / "torn" / "part-000001.jsonl").write_bytes(b"{}\n")
    (place / "old.jsonl").write_bytes(b"old")
    for name in ("old.jsonl", "new.jsonl", "new.csv"):
        done = warm("gather", "torn", "-o", name, "--force", cwd=place)
        assert done.code == 1 and "Remove part-000001.jsonl, and run the same command again" in done.err, done.err
    assert (place / "old.jsonl").read_bytes() == b"old" and not list(place.glob("new.*"))
    there = warm("gather", "torn", "-o", "old.jsonl", cwd=place)
    assert there.code == 2 and there.err == "bigain: old.jsonl: exists. --force to replace.\n"
    for name in ("run.json", "part-000000.jsonl", ".part-000009.jsonl"):
        own = warm("gather", "torn", "-o", f"torn/{name}" if name != "run.json" else "torn/../torn/run.json", cwd=place)
        assert own.code == 2 and ("a file of the run itself" in own.err or "names no format" in own.err), own.err


def test_gather_and_status_refuse_what_is_no_run(place: Path) -> None:
    for command in (("gather", "photos", "-o", "y.csv"), ("status", "photos"), ("status", "gone")):
        done = warm(*command, cwd=place)
        assert done.code == 2 and "no run in it: there is no manifest.txt" in done.err


MODEL = os.environ.get("BIGAIN_TEST_MODEL", "colours")  # by hand: BIGAIN_TEST_MODEL=mini BIGAIN_TEST_IMAGES=400
COUNT = int(os.environ.get("BIGAIN_TEST_IMAGES", "24"))
OPTIONS = {
    "colours": ("-l", "red,green,blue", "--schedule", "fixed", "--draws", "96"),
    "mini": ("-l", "cat,dog", "--draws", "16"),
}


@pytest.mark.slow
def test_four_processes_share_a_run_and_one_of_them_is_killed(tmp_path: Path) -> None:
    gallery(tmp_path / "photos", COUNT)
    options = ("classify", "photos", "-m", MODEL, *OPTIONS[MODEL])
    shares = [(*options, "-o", "results/", "--shard-size", "3", "--shard", f"{number}/4") for number in range(1, 5)]
    folder, until = RunFolder(tmp_path / "results"), time.monotonic() + 300
    with ExitStack() as stack:
        running = [stack.enter_context(start(*share, cwd=tmp_path)) for share in shares]
        for each in running:
            stack.callback(each.kill)
        while time.monotonic() < until and not (folder.manifest.exists() and {1, 5} & folder.journals()):
            time.sleep(0.01)
        running[1].kill()
        for number, process in enumerate(running):
            _, said = process.communicate(timeout=600)
            assert process.returncode == (-9 if number == 1 else 0), said
    assert len(folder.parts()) < -(-COUNT // 3)
    done = warm(*shares[1], cwd=tmp_path)
    assert done.code == 0, done.err
    assert warm(*options, "-o", "plain.jsonl", cwd=tmp_path).code == 0
    assert warm("gather", "results", "-o", "all.jsonl", cwd=tmp_path).code == 0
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "plain.jsonl").read_bytes()


@pytest.mark.slow
def test_many_lines_take_little_memory_and_no_time() -> None:
    tool = Path(__file__).parents[1] / "tools" / "benchmark_workers.py"
    done = subprocess.run([sys.executable, tool, "--lines", "200000"], capture_output=True, text=True, check=True)
    written, compared, status = done.stdout.splitlines()
    for line_ in (written, compared):
        speed, memory = map(int, re.findall(r"(\d+) (?:lines|MB)", line_))
        assert speed > 20_000 and memory < 150, line_  # a million took 182 MB
    assert float(status.split()[-2]) < 1
