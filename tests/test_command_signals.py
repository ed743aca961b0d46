"""Runs that end before their time: killed, interrupted, asked to end, or with nobody left to read."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import commands
import pytest
from commands import LABELS, run, start
from forks import Forks

SLOWLY = ("--schedule", "fixed", "--draws", "48")
COUNT = 30


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a folder of images, the second of them broken."""
    folder = tmp_path_factory.mktemp("place")
    commands.gallery(folder / "photos", COUNT)
    (folder / "photos" / "00-broken.png").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def whole(place: Path) -> bytes:
    """Return the file of a run that nothing disturbed, with --resume and no earlier file."""
    command = ("classify", "photos", *LABELS, *SLOWLY, "-o", "whole.jsonl", "--resume")
    first = run(*command, cwd=place)
    assert (first.code, first.out) == (1, b"")
    data = (place / "whole.jsonl").read_bytes()
    assert data.count(b"\n") == COUNT + 1 and b"0 images already" not in first.err.encode()
    return data


def wait_for_lines(process: Any, path: Path, count: int) -> None:
    """Wait until a file has so many lines."""
    until = time.monotonic() + 90
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.005)


def test_a_killed_run_resumes_to_the_same_bytes(place: Path, whole: bytes) -> None:
    command = ("classify", "photos", *LABELS, *SLOWLY, "-o", "killed.jsonl", "--resume")
    target = place / "killed.jsonl"
    with start(*command, cwd=place) as process:
        wait_for_lines(process, target, 5)
        process.kill()
        assert process.wait(20) == -signal.SIGKILL
        process.communicate()
    left = target.read_bytes()
    assert 5 <= left.count(b"\n") < COUNT and whole.startswith(left)
    target.write_bytes(left[: left.rindex(b"\n", 0, -1) + 40])  # as if killed in the middle of a line
    done = run(*command, cwd=place)
    assert done.code == 1 and "line was incomplete" in done.err and "already recorded, 1 of them failures" in done.err
    assert target.read_bytes() == whole


def test_a_finished_run_resumes_to_nothing_and_still_tells_its_failures(place: Path, whole: bytes) -> None:
    done = run("classify", "photos", *LABELS, *SLOWLY, "-o", "whole.jsonl", "--resume", cwd=place)
    assert done.code == 1 and f"{COUNT + 1} images already recorded, 1 of them failures" in done.err
    assert f"1 of {COUNT + 1} images failed" in done.err
    assert (place / "whole.jsonl").read_bytes() == whole


def test_another_seed_is_another_run(place: Path, whole: bytes) -> None:
    (place / "other.jsonl").write_bytes(whole)
    done = run("classify", "photos/00.png", *LABELS, *SLOWLY, "--seed", "1", "-o", "other.jsonl", "--resume", cwd=place)
    assert done.code == 0 and f"{COUNT + 1} records of other settings kept" in done.err
    data = (place / "other.jsonl").read_bytes()
    assert data.startswith(whole) and data.count(b"\n") == COUNT + 2


def interrupted(place: Path, target: Path, how: signal.Signals, *more: str) -> tuple[int, str]:
    """Send a signal once a few images are done, as --watch says on stderr; return the exit code and what was said."""
    command = ("classify", "photos", *LABELS, *SLOWLY, "--watch", "-o", str(target), *more)
    with start(*command, cwd=place) as process:
        said = []
        while sum("done" in line for line in said) < 3:
            said.append(process.stderr.readline().decode())
            assert said[-1], said
        process.send_signal(how)
        _, rest = process.communicate(timeout=60)
    return process.returncode, rest.decode()


@pytest.mark.parametrize(
    ("suffix", "how"), [("jsonl", signal.SIGINT), ("json", signal.SIGINT), ("csv", signal.SIGTERM)]
)
def test_an_interrupted_run_leaves_a_valid_file(place: Path, tmp_path: Path, suffix: str, how: signal.Signals) -> None:
    target = tmp_path / f"part.{suffix}"
    code, said = interrupted(place, target, how)
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[how]
    assert code == 128 + how and said.endswith(f"bigain: {word}\n") and "Traceback" not in said
    assert f"{target} has the results so far; " in said
    assert ("continue with --resume" in said) == (suffix == "jsonl")
    assert list(tmp_path.iterdir()) == [target]
    text = target.read_text()
    records: list[Any] = {
        "jsonl": lambda: [json.loads(line) for line in text.splitlines()],
        "json": lambda: json.loads(text),
        "csv": lambda: list(csv.DictReader(text.splitlines())),
    }[suffix]()
    assert 3 <= len(records) <= COUNT and text.endswith("\n")
    assert [record["id"] for record in records[:3]] == ["photos/00-broken.png", "photos/00.png", "photos/01.png"]


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("x.txt", ("--jsonl",), "x.txt has the results so far; only a .jsonl file can be continued\n"),
        ("x.jsonl", ("--force",), "x.jsonl has the results so far; continue with --resume (and no --force)\n"),
        ("/dev/null", ("--jsonl",), None),
    ],
)
def test_continuing_is_advised_only_where_it_is_possible(
    place: Path, tmp_path: Path, name: str, more: tuple[str, ...], said: str | None
) -> None:
    (tmp_path / "x.jsonl").write_text("")
    code, stderr = interrupted(place, tmp_path / name, signal.SIGINT, *more)
    assert code == 130 and (said in stderr if said else "has the results" not in stderr)


def test_an_interrupted_report_says_so(place: Path, tmp_path: Path) -> None:
    code, _ = interrupted(place, tmp_path / "part.html", signal.SIGTERM)
    text = (tmp_path / "part.html").read_text()
    assert code == 143 and f"Interrupted: {text.count('<article')} images recorded." in text
    assert 3 <= text.count("<article") <= COUNT and text.endswith("</html>\n")


@pytest.mark.skipif(shutil.which("setsid") is None, reason="nothing gives a process a terminal of its own")
def test_a_run_whose_terminal_is_closed_keeps_its_results(place: Path, tmp_path: Path) -> None:
    command = ("classify", "photos", *LABELS, *SLOWLY, "-o", str(tmp_path / "x.json"))
    ours, its = pty.openpty()
    with start(*command, cwd=place, prefix=("setsid", "--ctty"), stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        seen = b""
        while f"3/{COUNT + 1}".encode() not in seen:
            seen += os.read(ours, 1 << 16)
        os.close(ours)
        assert process.wait(60) == 128 + signal.SIGHUP
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert len(json.loads((tmp_path / "x.json").read_bytes())) >= 3


def test_nohup_is_obeyed(place: Path, tmp_path: Path) -> None:
    command = ("classify", "photos/00.png", *LABELS, *SLOWLY, "-o", str(tmp_path / "x.json"))
    with start(*command, cwd=place, prefix=("nohup",)) as process:
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and b"hung up" not in err
    assert len(json.loads((tmp_path / "x.json").read_bytes())) == 1


def test_a_second_run_is_refused_and_a_deleted_file_noticed(place: Path, tmp_path: Path, bigain: Forks) -> None:
    target = tmp_path / "x.jsonl"
    command = ("classify", "photos", *LABELS, "--schedule", "fixed", "--draws", "256", "-o", str(target), "--resume")
    bigain.start(*command, cwd=place)
    while not target.exists() or not target.read_bytes():
        time.sleep(0.005)
    os.kill(bigain.pid, signal.SIGSTOP)  # so that it cannot end before the second one has begun
    second = commands.warm(*command, cwd=place)
    assert (second.code, second.out) == (2, b"")
    assert (
        second.err
        == f"bigain: {target}: another bigain is writing it. Wait until that has ended, or name another file.\n"
    )
    target.unlink()
    os.kill(bigain.pid, signal.SIGCONT)
    first = bigain.result()
    assert first.code == 1 and f"bigain: {target}: was deleted while it was being written. It is in " in first.err
    assert [path.name for path in tmp_path.iterdir()] == ["x-2.jsonl"]
    rest = commands.warm(*command[:-2], str(tmp_path / "x-2.jsonl"), "--resume", cwd=place)
    assert rest.code == 1 and (tmp_path / "x-2.jsonl").read_bytes().count(b"\n") == COUNT + 1


@pytest.mark.parametrize("suffix", ["html", "json", "csv", "jsonl"])
def test_a_full_disk_ends_a_run_with_the_name_of_the_file(
    place: Path, tmp_path: Path, bigain: Forks, suffix: str
) -> None:
    target = tmp_path / f"x.{suffix}"
    target.write_text("")
    command = ("classify", "photos", *LABELS, "--schedule", "fixed", "--draws", "8", "-o", str(target), "--force")
    done = bigain(*command, cwd=place, limit=2_000)
    assert done.code == 1 and f"bigain: {target}: cannot be written (File too large). Check the disk.\n" in done.err
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    left = target.read_bytes()
    assert (left == b"") != (suffix == "jsonl")
    assert all(json.loads(line)["id"] for line in left.splitlines())


def test_interrupting_a_run_that_waits_for_paths_ends_it(place: Path) -> None:
    command = ("classify", "--files-from", "-", *LABELS, "--json")
    with start(*command, cwd=place, stdin=subprocess.PIPE, bufsize=0) as process:
        process.stdin.write(b"photos/00.png\n")
        first = process.stdout.readline()
        assert first == b"[\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err == b"bigain: interrupted\n"
    assert [record["id"] for record in json.loads(first + out)] == ["photos/00.png"]


def test_nothing_is_promised_of_a_file_without_records(place: Path, tmp_path: Path) -> None:
    command = ("classify", "--files-from", "-", *LABELS, "-o", str(tmp_path / "x.jsonl"))
    with start(*command, cwd=place, stdin=subprocess.PIPE, bufsize=0) as process:
        while not (tmp_path / "x.jsonl").exists():
            time.sleep(0.05)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err == b"bigain: interrupted\n"


@pytest.mark.parametrize("verb", ["classify", "list"])
def test_a_closed_pipe_is_quiet(place: Path, verb: str) -> None:
    line = {
        "classify": f'"{commands.SCRIPT}" classify photos {" ".join(LABELS)} --jsonl | head -n 2',
        "list": f'"{commands.SCRIPT}" list | :',
    }[verb]
    script = f"set -o pipefail; {line}; echo code $?"
    done = subprocess.run(
        ["bash", "-c", script], cwd=place, capture_output=True, text=True, env=commands.environment(), timeout=120
    )
    *lines, code = done.stdout.splitlines()
    assert (done.stderr, code) == ("", "code 0")
    assert (
        re.sub(r'("id": "[^"]+").*', r"\1", "\n".join(lines))
        == {
            "classify": '{"id": "photos/00-broken.png"\n{"id": "photos/00.png"',
            "list": "",
        }[verb]
    )


@pytest.mark.parametrize("name", ["report.html", "x.jsonl", "x.csv"])
def test_a_run_that_nobody_hears_of_goes_on_to_its_end(place: Path, name: str) -> None:
    """As in `bigain … 2>&1 | head -n 1`."""
    read, write = os.pipe()
    os.close(read)
    try:
        process = start("classify", "photos", *LABELS, "-o", name, "--draws", "8", cwd=place, stderr=write)
    finally:
        os.close(write)
    process.communicate(timeout=120)
    assert process.returncode == 1, "one of the images is broken"
    assert (place / name).read_bytes().count(b"29.png") >= 1
