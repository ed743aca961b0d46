"""Whole runs of `bigain classify`: what it reads, what it writes, and what each flag changes."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import select
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import commands
import odd_images
import pytest
from commands import LABELS, run, start, warm

FORMATS = {"table": ["--wide"], "json": ["--json"], "jsonl": ["--jsonl"], "csv": ["--csv"], "tsv": ["--tsv"]}
SUFFIXES = {"table": ".txt"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an image, a folder of seven, and a folder of odd files."""
    folder = tmp_path_factory.mktemp("place")
    commands.image(folder / "photo.jpg")
    commands.gallery(folder / "photos", 7)
    return folder


@pytest.fixture(scope="module")
def odd(place: Path) -> dict[str, str | None]:
    """Return what should become of each file in the folder odd/."""
    expected = odd_images.make_odd_folder(place / "odd")
    if os.access(place / "odd" / "unreadable.jpg", os.R_OK):  # permissions do not bind this process
        expected["unreadable.jpg"] = None
    return {f"odd/{name}": kind for name, kind in expected.items()}


@contextmanager
def terminal() -> Iterator[tuple[str, bytearray]]:
    """Lend a terminal: its path, and all that has been written to it once the block is left."""
    ours, theirs = pty.openpty()
    shown, leave = bytearray(), threading.Event()

    def drain() -> None:
        while select.select([ours], [], [], 0.1)[0] or not leave.is_set():
            if select.select([ours], [], [], 0)[0]:
                shown.extend(os.read(ours, 4096))

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        yield os.ttyname(theirs), shown
    finally:
        leave.set()
        reader.join()
        os.close(theirs)
        os.close(ours)


def scores(record: dict[str, Any]) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in record["top"]}


def same(ones: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """Hold that two runs gave the same answers, in whatever order."""
    by_id = {record["id"]: record for record in others}
    assert by_id.keys() == {record["id"] for record in ones}
    for record in ones:
        other = by_id[record["id"]]
        assert (record["label"], record["settled"], record["draws"]) == (
            *(other["label"], other["settled"], other["draws"]),
        )
        assert scores(record) == pytest.approx(scores(other), rel=1e-5, abs=1e-5)


def test_every_odd_file_gets_a_record_and_the_run_goes_on(place: Path, odd: dict[str, str | None]) -> None:
    result = warm("classify", "odd", *LABELS, "--jsonl", cwd=place)
    assert result.code == 1 and len(odd) >= 20
    assert {r["id"]: r["error"]["kind"] if "error" in r else None for r in result.records} == odd
    assert [record["id"] for record in result.records] == sorted(odd, key=os.fsencode)
    for record in result.records:
        if "error" in record:
            assert record["id"] in record["error"]["message"] and "fingerprint" in record["settings"]
        else:
            assert record["label"] in commands.COLOURS
    failures = sum(kind is not None for kind in odd.values())
    assert result.problems == f"bigain: {failures} of {len(odd)} images failed; their records say why\n"
    result.out.decode("utf-8", "strict")


@pytest.mark.parametrize("name", FORMATS)
def test_stdout_is_the_same_bytes_on_a_terminal_and_in_a_file(
    place: Path, odd: dict[str, str | None], name: str, tmp_path: Path
) -> None:
    command = ("classify", "odd", "photo.jpg", *LABELS, "--top", "2")
    with terminal() as (path, shown):
        watched = warm(*command, *FORMATS[name], "--watch", cwd=place, stderr=path, env={"TERM": "xterm"})
    target = tmp_path / f"records{SUFFIXES.get(name, '.' + name)}"
    filed = warm(*command, "-o", str(target), cwd=place)
    assert (watched.code, filed.code) == (1, 1)
    assert b"\x1b[" in shown and b" failed" in shown  # there was something to be disturbed by
    assert watched.out == target.read_bytes() and filed.out == b""
    assert b"\x1b" not in watched.out
    lines = watched.out.decode().split("\n")[:-1]
    if name == "json":
        assert len(json.loads(watched.out)) == len(odd) + 1
    elif name == "csv":
        assert [row["id"].encode() for row in csv.DictReader(io.StringIO(watched.out.decode()))] == [
            name.encode("utf-8", "backslashreplace") for name in [*sorted(odd, key=os.fsencode), "photo.jpg"]
        ]
    elif name == "tsv":
        assert len(lines) == len(odd) + 2 and {line.count("\t") for line in lines} == {lines[0].count("\t")}
    elif name == "jsonl":
        assert len(lines) == len(odd) + 1


@pytest.fixture(scope="module")
def usual(place: Path) -> list[dict[str, Any]]:
    result = warm("classify", "photos", *LABELS, "--jsonl", cwd=place)
    assert (result.code, result.problems) == (0, "")
    return result.records


@pytest.mark.parametrize("batch", ["1", "7", "64"])
def test_batch_and_order_change_nothing(place: Path, usual: list[dict[str, Any]], batch: str) -> None:
    given = sorted(f"photos/{entry.name}" for entry in (place / "photos").iterdir())
    command = ("classify", *reversed(given), "-l", "blue,red,green", "--jsonl", "--batch", batch)
    result = warm(*command, cwd=place)
    assert [record["id"] for record in result.records] == given[::-1]
    same(usual, result.records)
    assert warm(*command, cwd=place).out == result.out


def test_a_stable_diffusion_folder_gives_the_same_in_any_batch_and_order(place: Path, models: dict[str, Path]) -> None:
    command = ("-m", str(models["epsilon"]), "--draws", "16", "--jsonl", "photos/02.png")
    one = warm("classify", *command, "photo.jpg", "-l", "cat,dog,an owl", "--batch", "1", cwd=place)
    other = warm("classify", "photo.jpg", *command, "-l", "an owl,cat,dog", "--batch", "7", cwd=place)
    assert (one.code, one.problems, other.code, other.problems) == (0, "", 0, "")
    same(one.records, other.records)
    assert {record["settings"]["model"] for record in one.records} == {str(models["epsilon"])}


def test_find_can_feed_it_names_that_need_null(place: Path, odd: dict[str, str | None]) -> None:
    found = subprocess.run(["find", "odd", "-name", "*.jpg", "-type", "f", "-print0"], cwd=place, capture_output=True)
    result = warm("classify", "--files-from", "-", "-0", *LABELS, "--reject", "--jsonl", cwd=place, input=found.stdout)
    given = [os.fsdecode(path) for path in found.stdout.split(b"\0")[:-1]]
    assert "odd/new\nline.jpg" in given and "odd/latin-\udce9.jpg" in given
    assert [record["id"] for record in result.records] == given
    assert os.fsencode(result.records[given.index("odd/latin-\udce9.jpg")]["id"]) == b"odd/latin-\xe9.jpg"
    labelled = [record for record in result.records if "label" in record]
    assert labelled and all("none" in scores(record) for record in labelled)
    listed = warm("classify", "--files-from", "paths", *LABELS, "--jsonl", cwd=_with_list(place))
    assert [(record["id"], record["label"]) for record in listed.records] == [("photo.jpg", "red")]


def _with_list(place: Path) -> Path:
    (place / "paths").write_bytes(b"photo.jpg\r\n\nphoto.jpg")
    return place


def test_reject_answers_none_for_what_no_label_explains(place: Path) -> None:
    result = warm("classify", "photo.jpg", "-l", "blue,black", "--reject", "--jsonl", cwd=place)
    assert [record["label"] for record in result.records] == ["none"]


def test_a_list_on_stdin_leaves_no_image_there(place: Path) -> None:
    result = warm("classify", "--files-from", "-", *LABELS, "--jsonl", cwd=place, input=b"-\nphoto.jpg\n")
    refused, read = result.records
    assert (refused["id"], refused["error"]["kind"], read["label"]) == ("-", "not-found", "red")


def test_an_image_can_be_piped_in(place: Path) -> None:
    piped = run("classify", "-", *LABELS, "--jsonl", input=(place / "photo.jpg").read_bytes(), cwd=place)
    assert (piped.code, piped.problems) == (0, "")
    assert [(record["id"], record["label"]) for record in piped.records] == [("-", "red")]


def test_nothing_piped_in_is_an_error_record(place: Path) -> None:
    result = warm("classify", "-", *LABELS, "--jsonl", cwd=place)
    assert (result.code, result.records[0]["error"]["kind"]) == (1, "empty-file")


@pytest.mark.parametrize("form", ["--jsonl", "--tsv"])
def test_a_record_comes_before_the_next_path_is_written(place: Path, form: str) -> None:
    names = ["photo.jpg", "photos/00.png", "gone.png", "photos/01.png"]
    with start("classify", "--files-from", "-", *LABELS, form, cwd=place, stdin=subprocess.PIPE, bufsize=0) as process:
        lines = []
        if form == "--tsv":
            process.stdin.write(names[0].encode() + b"\n")
            assert _line(process).startswith(b"id\t")
        for number, name in enumerate(names):
            if number or form != "--tsv":
                process.stdin.write(name.encode() + b"\n")
            lines.append(_line(process))
            assert name.encode() in lines[-1]
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(20) == 1
        process.stderr.close()


def _line(process: subprocess.Popen[bytes]) -> bytes:
    """Read the line that must be on its way; a record held back until the next path would never come."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 60)
    if not ready:
        process.kill()
        pytest.fail("no record came before the next path")
    return process.stdout.readline()


def test_standard_streams_that_are_closed_do_no_harm(place: Path) -> None:
    command = f'exec "{commands.SCRIPT}" classify photo.jpg {" ".join(LABELS)} -o closed.csv <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", command], cwd=place, env=commands.environment(), timeout=120)
    assert done.returncode == 0 and b"photo.jpg,red" in (place / "closed.csv").read_bytes()


def one(place: Path, *flags: str, **options: Any) -> dict[str, Any]:
    """Classify one image and return its record."""
    result = warm("classify", "photos/01.png", *LABELS, "--jsonl", *flags, cwd=place, **options)
    assert result.code == 0, result.err
    (record,) = result.records
    return record


def test_budget_caps_the_evaluations_of_an_image(place: Path) -> None:
    record = one(place, "--schedule", "fixed", "--budget", "30")
    assert (record["evaluations"], record["draws"], record["settings"]["budget"]) == (30, 10, 30)
    refused = warm("classify", "photo.jpg", *LABELS, "--budget", "2", cwd=place)
    assert (refused.code, refused.out) == (2, b"") and "--budget 2" in refused.err and "3 evaluations" in refused.err


def test_draws_cap_the_draws_of_a_label(place: Path) -> None:
    record = one(place, "--schedule", "fixed", "--draws", "13")
    assert (record["draws"], record["evaluations"]) == (13, 39)
    assert {entry["draws"] for entry in record["top"]} == {13}


def test_a_deadline_ends_an_image_early(place: Path) -> None:
    record = one(place, "--schedule", "fixed", "--draws", "100000", "--deadline", "0.2", "--timing")
    assert 0.2 <= record["seconds"] < 5 and 0 < record["draws"] < 100_000
    assert record["settings"]["deadline"] == 0.2


def test_schedules_stop_as_they_say(place: Path) -> None:
    draws = {name: one(place, "--schedule", name)["draws"] for name in ("race", "ttest", "staged", "fixed")}
    assert draws["staged"] == 20 and draws["fixed"] == 64
    assert draws["race"] % 8 == 0 and 20 <= draws["ttest"] < 64


def test_confidence_costs_draws(place: Path) -> None:
    little, much = (one(place, "--confidence", value)["evaluations"] for value in ("0.6", "0.9999"))
    assert little < much


def test_timing_is_refused_where_no_second_would_show(place: Path) -> None:
    for form in ([], ["--csv"], ["--tsv"]):
        result = warm("classify", "photo.jpg", *LABELS, "--timing", *form, cwd=place)
        assert result.code == 2 and "--timing: only records of --json and --jsonl hold seconds" in result.err


def test_score_seed_and_timing_show_in_the_record(place: Path) -> None:
    plain = one(place)
    assert "seconds" not in plain and plain["settings"]["seed"] == 0
    by_score = {name: one(place, "--score", name) for name in ("l2", "norm", "log", "l1", "vote")}
    assert all(record["settings"]["score"] == name for name, record in by_score.items())
    assert len({record["top"][0]["score"] for record in by_score.values()}) == 5
    other = one(place, "--seed", "7", "--timing")
    assert other["settings"]["seed"] == 7 and other["top"][0]["score"] != plain["top"][0]["score"]
    assert other["seconds"] >= 0
    prints = [record["settings"]["fingerprint"] for record in (plain, other, *list(by_score.values())[1:])]
    assert len(set(prints)) == len(prints)


def test_top_cuts_the_list_of_labels(place: Path) -> None:
    assert [len(one(place, "--top", str(k))["top"]) for k in (1, 2, 9)] == [1, 2, 3]
    header, row = warm("classify", "photo.jpg", *LABELS, "--tsv", "--top", "2", cwd=place).out.decode().splitlines()
    assert "\tlabel_2\tprobability_2\tasked" in header and len(row.split("\t")) == len(header.split("\t"))


def test_a_pattern_is_several_images_and_has_a_line_for_each(place: Path) -> None:
    command = ("classify", "-l", "red,green,blue", "-m", "colours")
    pattern, folder = (warm(*command, given, cwd=place).out for given in ("photos/*", "photos"))
    assert pattern == folder and pattern.count(b"photos/") == 7


def test_the_first_failure_is_named_where_records_are_out_of_sight(place: Path, tmp_path: Path) -> None:
    result = warm("classify", "photo.jpg", "photos/../gone.png", *LABELS, "-o", str(tmp_path / "r.jsonl"), cwd=place)
    (failed,) = [r for r in map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines()) if "error" in r]
    said = failed["error"]["message"]
    assert "photos/../gone.png: no such file" in said
    assert result.problems == f"bigain: 1 of 2 images failed; its record says why (the first: {said})\n"


def test_watch_tells_a_file_line_by_line_and_quiet_tells_what_failed(place: Path) -> None:
    command = ("classify", "photos/01.png", "gone.png", *LABELS, "--jsonl")
    plain, watched, quiet, verbose = (
        warm(*command, *flags, cwd=place) for flags in ([], ["--watch"], ["-q", "-v"], ["-v"])
    )
    assert plain.out == watched.out == quiet.out == verbose.out
    lines = watched.problems.splitlines()[:-1]
    assert all(line.startswith("'photos/01.png': ") and "/s, gap " in line for line in lines)
    assert lines[-1].startswith("'photos/01.png': done") and "\x1b" not in watched.err
    assert plain.problems == quiet.err == "bigain: 1 of 2 images failed; its record says why\n"
    assert "labels: inline list, 3 of them" in verbose.err and "model: colours on cpu in float32" in verbose.err


def test_verbose_says_which_labels_were_chosen(place: Path) -> None:
    (place / "stl10").write_text("red\nblue\n")
    with_file = warm("classify", "photo.jpg", "-l", "stl10", "-v", cwd=place)
    assert with_file.code == 0 and "labels: file stl10, 2 of them" in with_file.err
    preset = warm("classify", "photo.jpg", "-l", "eurosat", "-v", cwd=place)
    assert preset.code == 2 and "labels: preset eurosat, 10 of them" in preset.err


def test_colour_is_for_terminals_that_want_it(place: Path) -> None:
    shown = {}
    for value in ("", "1"):
        with terminal() as (path, seen):
            warm("classify", "photo.jpg", *LABELS, cwd=place, stdout=path, env={"NO_COLOR": value, "TERM": "xterm"})
        shown[value] = bytes(seen).replace(b"\r\n", b"\n")
    piped = warm("classify", "photo.jpg", *LABELS, cwd=place).out
    assert b"\x1b[32m" in shown[""] and shown["1"] == piped and b"\x1b" not in piped


def test_progress_and_records_share_a_terminal(place: Path) -> None:
    command = ("classify", "photos", *LABELS, "--schedule", "fixed")
    alone = warm(*command, cwd=place, env={"NO_COLOR": "1"}).out.decode()
    for flags in ([], ["--watch"]):
        with terminal() as (path, seen):
            warm(*command, *flags, cwd=place, stdout=path, stderr=path, env={"TERM": "xterm", "NO_COLOR": "1"})
        assert b" evaluations" in seen and (b" draws" in seen) == bool(flags)
        *lines, last = screen(bytes(seen))
        assert lines == alone.splitlines() and last.startswith("bigain: 7 images: ")


def screen(shown: bytes) -> list[str]:
    """Return the lines that a terminal shows in the end, as far as its few codes for moving and erasing go."""
    rows, row, column = [""], 0, 0
    for code, count, end, text in re.findall(r"(\x1b\[\??(\d*)([a-zA-Z]))|([^\x1b])", shown.decode(), re.DOTALL):
        if text == "\n":
            row += 1
            rows += [""] * (row == len(rows))
        elif text == "\r":
            column = 0
        elif text:
            rows[row] = rows[row][:column].ljust(column) + text + rows[row][column + 1 :]
            column += 1
        elif end == "A":
            row = max(row - int(count or 1), 0)
        elif code == "\x1b[2K":
            rows[row] = ""
    return [line.rstrip() for line in rows if line.strip()]


def test_what_a_closed_vocabulary_does_not_know_is_refused_with_near_names(place: Path) -> None:
    result = warm("classify", "photo.jpg", "-l", "red,gren,blue", cwd=place)
    assert (result.code, result.out, result.err.count("\n")) == (2, b"", 1)
    for words in ("label 'gren'", "11 classes", "green", "-m sd1.5"):
        assert words in result.err
    synonyms = warm("classify", "photo.jpg", "-l", "grey,gray,red", cwd=place)
    assert synonyms.code == 2 and "'grey' and 'gray'" in synonyms.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--device", "cpux"], ["--device cpux", "cuda:1"]),
        (["--device", "cuda:97"], ["--device cuda:97"]),
        (["--device", "meta"], ["--device meta"]),
        (["--dtype", "float8"], ["--dtype float8", "float16"]),
        (["-l", "red", "--jsonl"], ["one label", "--reject"]),
        (["-t", "a {}"], ["--template", "class names"]),
    ],
)
def test_what_only_the_model_can_refuse_is_refused(place: Path, flags: list[str], words: list[str]) -> None:
    if "-l" in flags:
        (place / "single.txt").write_text("red\n")
        flags = ["-l", "single.txt", *flags[2:]]
    result = warm("classify", "photo.jpg", *LABELS, *flags, cwd=place)
    assert (result.code, result.out, result.err.count("\n")) == (2, b"", 1), result.err
    assert all(word in result.err for word in words)


def test_a_list_that_the_shell_cut_at_a_space_is_explained(place: Path) -> None:
    result = warm("classify", "photo.jpg", "-m", "colours", "-l", "red,", "green", cwd=place)
    assert (
        result.code == 2 and "one label cannot be ranked" in result.err and "without spaces (red,green)" in result.err
    )


def test_force_replaces_and_leaves_nothing_else_behind(place: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")
    done = warm("classify", "photo.jpg", *LABELS, "-o", str(target), "--force", cwd=place)
    assert done.code == 0 and json.loads(target.read_text())[0]["label"] == "red"
    assert list(tmp_path.iterdir()) == [target]


FULL = "bigain: stdout: cannot be written (No space left on device). Check the disk.\n"


def test_a_full_disk_is_said_in_a_line(place: Path) -> None:
    for form in ("--jsonl", "--json", "--tsv"):
        result = warm("classify", "photo.jpg", *LABELS, form, cwd=place, stdout="/dev/full")
        assert result.code == 1 and result.err == FULL, result.err
    result = warm("list", cwd=place, stdout="/dev/full")
    assert result.code == 1 and "No space left on device" in result.err and result.err.count("\n") == 1
