"""Files appear whole or not at all, one process writes each, and what cannot have its place is saved elsewhere."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from bigain_cli.cli.signals import EndingSignal, catch_signals
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.output_format import OutputFormat, Record, opened
from bigain_cli.outputs.part_folders import remove_leftovers
from bigain_cli.outputs.renamed_file import replacing
from bigain_cli.outputs.shield import SHIELD
from bigain_cli.outputs.target_stream import WriteError
from bigain_cli.outputs.whole_files import held, open_target, save_file, write_whole
from bigain_cli.registry import OUTPUTS, attribute

NAMES = ("x.json", "x.jsonl")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"folder" for path in folder.iterdir()}


def fail(*_: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def by_stream(path: Path) -> None:
    with open_target(str(path), force=True) as stream:
        stream.write(b"new")


def by_path(path: Path) -> None:
    with replacing(path, str(path)) as temporary:
        temporary.write_bytes(b"new")


WRITERS: dict[str, Callable[[Path], object]] = {
    "stream": by_stream,
    "whole": lambda path: write_whole(str(path), b"new", force=True),
    "save": lambda path: save_file(path.parent, path.name, b"new"),
    "path": by_path,
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("call", ["fsync", "write", "replace"])
@pytest.mark.parametrize("before", [{}, {"x.json": b"old"}])
def test_a_full_disk_changes_nothing_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, call: str, before: dict[str, bytes]
) -> None:
    for name, data in before.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(os, call, fail)
    if call == "write":
        monkeypatch.setattr(Path, "write_bytes", fail)
    monkeypatch.setattr(Path, "replace", lambda *_: fail()) if call == "replace" else None
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(OSError if (writer, call) == ("path", "write") else WriteError, match="No space left") as caught:
        WRITERS[writer](tmp_path / "x.json")
    monkeypatch.undo()
    left = contents(tmp_path)
    if call == "replace" and writer in ("stream", "whole"):  # all is written, but cannot have its name
        assert left.pop("x-2.json") == b"new" and str(tmp_path / "x-2.json") in str(caught.value)
    assert left == before
    assert isinstance(caught.value, OSError) or caught.value.what == str(tmp_path / "x.json")


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "x.jsonl", os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) > 4:
            return write(descriptor, data[:4])
        return int(fail())

    with pytest.raises(WriteError, match=r"x\.jsonl: cannot be written \(No space"), open_target(str(path)) as stream:
        stream.write(b"1\n")
        monkeypatch.setattr(os, "write", half)
        stream.write(b"12345\n")
    assert contents(tmp_path) == {"x.jsonl": b"1\n"}


@pytest.mark.parametrize("room", [0, 1, 4, 5])
@pytest.mark.parametrize("ends", ["well", "with Ctrl-C", "badly"])
def test_what_finds_no_room_on_its_disk_is_saved_in_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, ends: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "full" / "x.json").write_bytes(b"old")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    path, write = str(tmp_path / "full" / "x.json"), os.write

    def write_what_fits(descriptor: int, data: bytes) -> int:
        file = os.fstat(descriptor)
        if file.st_ino != full or not (free := room - file.st_size):
            return write(descriptor, data) if file.st_ino != full else int(fail())
        return write(descriptor, data[:free])

    problem: dict[str, type[BaseException]] = {"with Ctrl-C": KeyboardInterrupt, "badly": ZeroDivisionError}
    caught: BaseException | None = None
    try:
        with open_target(path, force=True) as stream:
            full = os.fstat(stream.descriptor).st_ino
            monkeypatch.setattr(os, "write", write_what_fits)
            for piece in (b"12", b"", b"345", b"6"):
                stream.write(piece)
            if ends in problem:
                raise problem[ends]
    except (WriteError, ZeroDivisionError) as error:
        caught = error
    assert contents(tmp_path / "full") == {"x.json": b"old"}
    saved = contents(tmp_path / "elsewhere")
    if ends == "badly":
        assert saved == {} and isinstance(caught, ZeroDivisionError)
    else:
        (name,) = saved
        assert saved[name] == b"123456" and name.endswith(".json")
        assert str(caught).endswith(f"(No space left on device). It is in {tmp_path / 'elsewhere' / name} now.")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_passes_its_permissions_on(tmp_path: Path, name: str, mode: int) -> None:
    if mode == 0o444 and (name == "x.jsonl" or os.getuid()):
        pytest.skip("it cannot be written")
    (tmp_path / name).write_text("old")
    (tmp_path / name).chmod(mode)
    by_stream(tmp_path / name)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode and contents(tmp_path) == {name: b"new"}


@pytest.mark.parametrize(
    ("name", "again"),
    [*((name, {"force": force}) for name in NAMES for force in (False, True)), ("x.jsonl", {"append": True})],
)
def test_a_second_writer_is_refused_until_the_first_has_ended(
    tmp_path: Path, name: str, again: dict[str, bool]
) -> None:
    path = str(tmp_path / name)
    with open_target(path) as stream:
        for _ in range(2):
            with pytest.raises(UsageError, match="another bigain is writing it") as caught, open_target(path, **again):
                pass
            assert caught.value.what == path
        with open_target(str(tmp_path / "other.json")) as other:
            other.write(b"other")
        stream.write(b"1\n")
    with open_target(path, force=True) as stream:
        stream.write(b"2\n")
    assert contents(tmp_path) == {name: b"2\n", "other.json": b"other"}


def test_a_file_can_be_held_without_writing_it(tmp_path: Path) -> None:
    path = str(tmp_path / "x.png")
    with held(path):
        with pytest.raises(UsageError, match="mine: another bigain"), held(path, "mine"):
            pass
        write_whole(path, b"new")
    with held(path):
        pass
    assert contents(tmp_path) == {"x.png": b"new"}


CHILD = """
import sys, time
from bigain_cli.outputs.whole_files import open_target
with open_target(sys.argv[1]) as stream:
    stream.write(b"half")
    print(flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("name", NAMES)
def test_what_a_dead_process_has_left_is_removed_and_what_a_living_one_needs_is_not(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path / name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        by_stream(tmp_path / "other.json")
        assert len(contents(tmp_path)) == 2
        with pytest.raises(UsageError, match="another bigain is writing it"):
            by_stream(tmp_path / name)
        process.kill()
    left = contents(tmp_path)
    assert len(left) == 2 and left.get(name) == (b"half" if name == "x.jsonl" else None)
    remove_leftovers.cache_clear()
    by_stream(tmp_path / "other.json")
    assert contents(tmp_path).keys() == {"other.json"} | ({name} if name == "x.jsonl" else set())
    by_stream(tmp_path / name)


def test_only_our_own_folders_are_removed(tmp_path: Path) -> None:
    for name in (".bigain-1.part", "photos", ".bigain-x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text("x")
    (tmp_path / ".bigain-file.part").write_text("x")
    (tmp_path / ".bigain-link.part").symlink_to("photos")
    remove_leftovers(tmp_path)
    assert contents(tmp_path).keys() == {"photos", ".bigain-x", ".bigain-file.part", ".bigain-link.part"}
    assert (tmp_path / "photos" / "content").exists()


def appear(path: Path) -> None:
    path.write_bytes(b"other")


def become_a_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def lose_the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def be_replaced(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"other")


@pytest.mark.parametrize(
    ("name", "event", "force", "why"),
    [
        ("x.json", appear, False, "a file of that name has appeared meanwhile"),
        ("x.json", become_a_folder, False, "a folder of that name has appeared"),
        ("x.json", become_a_folder, True, "a folder of that name has appeared"),
        ("x.json", lose_the_folder, True, "its folder is gone"),
        ("x.jsonl", Path.unlink, False, "was deleted while it was being written"),
        ("x.jsonl", be_replaced, True, "was replaced while it was being written"),
        ("x.jsonl", lose_the_folder, False, "was deleted while it was being written"),
    ],
)
@pytest.mark.parametrize("interrupted", [False, True])
def test_what_cannot_have_its_place_any_more_is_saved_elsewhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    event: Callable[[Path], None],
    force: bool,
    why: str,
    interrupted: bool,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = tmp_path / "in" / name
    path.parent.mkdir()
    with pytest.raises(WriteError) as caught, open_target(str(path), force=force) as stream:
        stream.write(b"answers\n")
        event(path)
        if interrupted:
            raise KeyboardInterrupt
    assert caught.value.what == str(path) and why in caught.value.why and caught.value.exit_code == 1
    place = Path(caught.value.hint.removeprefix("It is in ").removesuffix(" now."))
    assert place.read_bytes() == b"answers\n" and place.suffix == path.suffix
    assert place.parent == (tmp_path if event is lose_the_folder else path.parent)
    if event in (appear, be_replaced):
        assert path.read_bytes() == b"other"
    assert len(list(tmp_path.rglob("*"))) == len({tmp_path / "in", path, place} & set(tmp_path.rglob("*")))


def test_a_deleted_file_is_noticed_at_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with pytest.raises(WriteError, match="deleted"), open_target(str(path)) as stream:
        stream.write(b"1\n")
        path.unlink()
        stream.write(b"2\n")
        raise AssertionError("not noticed")
    assert contents(tmp_path) == {"x-2.jsonl": b"1\n2\n"}


def test_data_that_are_made_are_saved_even_if_the_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(WriteError, match="It is in"):
        write_whole(str(tmp_path / "gone" / "x.png"), b"data")
    [place] = tmp_path.iterdir()
    assert place.read_bytes() == b"data" and place.suffix == ".png"


def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path: Path) -> None:
    for suffix in (".json", ".jsonl", ".html"):
        with pytest.raises(UsageError, match="File name too long"), open_target(str(tmp_path / ("x" * 255 + suffix))):
            raise AssertionError("not refused")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("problem", [KeyboardInterrupt, BigainError("x"), ZeroDivisionError])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_run_that_ends_before_its_first_record_changes_nothing(
    tmp_path: Path, name: str, problem: Any, old: bytes | None
) -> None:
    if old is not None:
        (tmp_path / name).write_bytes(old)
    with pytest.raises((KeyboardInterrupt, Exception)), open_target(str(tmp_path / name), force=True):
        raise problem
    assert contents(tmp_path) == ({} if old is None else {name: old})


@pytest.mark.parametrize("problem", [KeyboardInterrupt, BigainError("x"), ZeroDivisionError])
@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("name", ["json", "jsonl", "csv", "tsv", "html", "table", "parquet"])
def test_no_format_replaces_a_file_by_a_document_without_a_record(
    tmp_path: Path, name: str, problem: Any, old: bytes | None
) -> None:
    path = tmp_path / f"x{OUTPUTS[name].suffixes[0]}"
    if old is not None:
        path.write_bytes(old)
    with (
        pytest.raises(problem if isinstance(problem, type) else type(problem)) as raised,
        open_target(str(path), force=True) as stream,
        opened(attribute(OUTPUTS[name].writer)(), cast(Any, stream), str(path)),
    ):
        raise problem
    assert raised.type in (problem, type(problem))
    assert contents(tmp_path) == ({} if old is None else {path.name: old})


def test_an_empty_file_that_grows_is_no_file_to_protect(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).touch()
    with open_target(str(tmp_path / "x.jsonl")) as stream:
        stream.write(b"1\n")
    with pytest.raises(UsageError, match="exists"), open_target(str(tmp_path / "x.json")):
        pass


class Words(OutputFormat):
    """Calls `at` at each of its steps."""

    def __init__(self, at: Callable[[], None]) -> None:
        super().__init__()
        self._at = at

    def add(self, record: Record, result: Any = None) -> None:
        with SHIELD:
            for part in ("(", record["id"], ")"):
                self._at()
                self._stream.write(part.encode())

    def close(self, complete: bool = True) -> None:
        for part in ("the ", "end"):
            self._at()
            self._stream.write(part.encode())
        self._at()


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("first", range(10))
@pytest.mark.parametrize("second", [0, 1, 2])
def test_signals_at_any_step_leave_a_whole_file(tmp_path: Path, first: int, second: int) -> None:
    """The first one ends the run, or comes after the last record; a second one waits."""
    steps = 0

    def at() -> None:
        nonlocal steps
        for number, due in ((signal.SIGTERM, first), (signal.SIGINT, first + second)):
            if steps == due:
                signal.raise_signal(number)
        steps += 1

    path = tmp_path / "x.txt"
    with pytest.raises(EndingSignal) as caught, open_target(str(path)) as stream, opened(Words(at), stream, "x") as out:
        for id in "ab":
            out.write({"id": id})
        at()
    assert caught.value.code == 143
    assert (
        contents(tmp_path)["x.txt"] == (b"(a)(b)the end" if first > 2 else b"(a)the end")
        and len(contents(tmp_path)) == 1
    )


@pytest.mark.usefixtures("signals")
def test_a_signal_in_a_shield_comes_at_its_end() -> None:
    reached = []
    with pytest.raises(EndingSignal) as caught, SHIELD:
        with SHIELD:
            signal.raise_signal(signal.SIGHUP)
            reached.append("inner")
        signal.raise_signal(signal.SIGINT)
        reached.append("outer")
    assert reached == ["inner", "outer"] and caught.value.code == 129 and caught.value.word == "hung up"
    with SHIELD:
        pass
    signal.raise_signal(signal.SIGINT)  # the first one is being obeyed


def test_an_ignored_hangup_stays_ignored(signals: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    catch_signals()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.raise_signal(signal.SIGHUP)


def test_two_names_of_a_file_are_one(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("x.json")
    with open_target(str(tmp_path / "link.json"), force=True), pytest.raises(UsageError, match="another"):
        by_stream(tmp_path / "x.json")
