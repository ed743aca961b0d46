"""Results in an object store: the records of several machines are those of one, and every object is written whole."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import commands
import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from stub_job import StubJob, record_of, stub_run

from bigain_cli import object_store
from bigain_cli.engines.this_process import run_here
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.json import line
from bigain_cli.shards.gathering import Gathering
from bigain_cli.shards.manifest import Shard, shards
from bigain_cli.shards.opening import existing_run_folder, run_folder
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import Making, join, read_record
from bigain_cli.shards.run_status import status_of
from bigain_cli.shards.shard_work import Piece, work

URL = "s3://bucket/results"
IDS = [f"{number}.png" for number in range(21)]


class Store(LocalFileSystem):
    """A store in a folder, which counts what is written."""

    protocol = "s3"
    root = Path()
    written: ClassVar[Counter[str]] = Counter()
    broken = False
    disk = ""  # of the machine that this process is on

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        text = str(path).removeprefix("s3://")
        return text if text.startswith(str(cls.root)) else f"{cls.root}/{text}"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if self.broken:
            raise RuntimeError("503 \n slow down")
        self._count(path)
        super().pipe_file(path, value, mode, **kwargs)

    def put_file(self, lpath: str, rpath: str, *args: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        path = Path(self._strip_protocol(rpath))
        if mode == "create" and path.exists():
            raise FileExistsError(rpath)
        if self.broken:
            raise OSError("503 \n slow down")
        self._count(rpath)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Path(lpath).read_bytes())

    def get_file(self, rpath: str, lpath: str, *args: Any, **kwargs: Any) -> None:
        Path(lpath).write_bytes(Path(self._strip_protocol(rpath)).read_bytes())

    def mv(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("objects cannot be renamed")

    def _count(self, path: str) -> None:
        Path(self._strip_protocol(path)).parent.mkdir(parents=True, exist_ok=True)
        Store.written[Path(path).name] += 1


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    before = fsspec.registry.get("s3")
    fsspec.register_implementation("s3", Store, clobber=True)
    monkeypatch.setitem(object_store.LIBRARIES, "s3", "fsspec")
    monkeypatch.setattr(Store, "root", tmp_path / "store")
    monkeypatch.setattr(Store, "written", Counter())
    (tmp_path / "store" / "bucket").mkdir(parents=True)
    monkeypatch.setattr(Store, "disk", str(tmp_path / "here" / "bigain"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    yield tmp_path / "store" / "bucket" / "results"
    if before is not None:
        fsspec.register_implementation("s3", before, clobber=True)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return what takes this process to another machine: one with another disk."""
    return lambda name: monkeypatch.setattr(Store, "disk", str(tmp_path / name / "bigain"))


def begun(url: str, ids: list[str], size: int = 8) -> RunFolder:
    return stub_run(url, ids, size, Store.disk)


def existing(url: str) -> RunFolder:
    return existing_run_folder(url, Store.disk)


def run(folder: RunFolder, job: Any = StubJob(), numbers: slice = slice(None)) -> None:  # noqa: B008 (frozen)
    found = read_record(folder)
    assert found is not None
    for _ in run_here(job, folder, list(shards(folder.manifest, found.shard_size))[numbers]):
        pass


def stopped(images: int) -> tuple[RunFolder, Any, Shard]:
    """Begin a run of shards of eight, and stop after some images of the first shard."""
    folder, maker = begun(URL, IDS, 8), StubJob().start(0)
    join(folder, maker.making)
    first = next(shards(folder.manifest, 8))
    for _ in work(folder, Piece(first, most=images), maker):
        pass
    return folder, maker, first


def gathered() -> bytes:
    folder = existing(URL)
    return b"".join(line(record) + b"\n" for record in Gathering.of(folder, partial=False).records())


WHOLE = b"".join(line(record_of(id)) + b"\n" for id in IDS)


def test_three_machines_write_what_one_would(store: Path, elsewhere: Any) -> None:
    for number in range(3):
        elsewhere(f"machine-{number}")
        run(begun(URL, IDS, 4), numbers=slice(number, None, 3))
    elsewhere("laptop")
    assert gathered() == WHOLE
    whole = [*(f"part-{number:06}.jsonl" for number in range(6)), "manifest.txt", "begun.json", "run.json"]
    assert {path.name for path in store.iterdir()} == {*whole, "notes"}
    assert all(Store.written[name] == 1 for name in whole), "one request each"
    status = status_of(existing(URL))
    assert (status.images, status.done, status.shards_done, status.failed) == (21, 21, 6, 0)


def test_a_shard_goes_on_on_another_machine(store: Path, elsewhere: Any) -> None:
    folder = begun(URL, IDS, 8)
    maker = StubJob().start(0)
    join(folder, maker.making)
    (first, *_) = shards(folder.manifest, 8)
    steps = work(folder, Piece(first, most=3), maker)
    assert sum(record is not None for record in steps) == 3
    assert (store / ".part-000000.jsonl").read_bytes().count(b"\n") == 3
    elsewhere("machine-2")
    other = begun(URL, IDS, 8)
    assert status_of(other).under_way == 3
    assert sum(record is not None for record in work(other, Piece(first), maker)) == 5, "three were there"
    assert not (store / ".part-000000.jsonl").exists()
    elsewhere("here")
    assert list(work(folder, Piece(first), maker)) == [], "the first machine sees that it is done"
    run(folder)
    assert gathered() == WHOLE


def test_the_record_of_an_image_that_kills_is_its_own_on_any_machine(elsewhere: Any) -> None:
    """The machine that gives an image up may have recorded less of the shard than the one that died."""
    folder, maker, first = stopped(5)
    for _ in work(folder, Piece(first, most=0), maker):  # what a worker does that dies on the next image
        pass
    elsewhere("machine-2")
    dead = [record for record in work(begun(URL, IDS, 8), Piece(first, most=0, give_up=True), maker) if record]
    assert [record["id"] for record in dead] == ["5.png"]


def test_a_run_that_was_removed_from_the_store_leaves_nothing_behind(store: Path) -> None:
    stopped(3)
    shutil.rmtree(store)
    ids = [f"other-{id}" for id in IDS]
    run(begun(URL, ids, 4))
    assert gathered() == b"".join(line(record_of(id)) + b"\n" for id in ids)


def test_other_images_settings_and_shards_are_refused(elsewhere: Any) -> None:
    run(begun(URL, IDS, 8))
    for machine in ("here", "machine-2"):
        elsewhere(machine)
        with pytest.raises(UsageError, match=f"{URL}/manifest.txt, line 2"):
            begun(URL, ["0.png", "x.png"], 8)
        with pytest.raises(UsageError, match="shards of 8"):
            begun(URL, IDS, 4)
        folder = existing(URL)
        with pytest.raises(UsageError, match=URL):
            join(folder, StubJob(fingerprint="4567").start(0).making)


def test_of_two_machines_that_begin_at_once_one_says_how_records_are_made(elsewhere: Any) -> None:
    mine = begun(URL, IDS, 8)
    elsewhere("machine-2")
    other = begun(URL, IDS, 8)
    making = StubJob().start(0).making
    assert join(mine, making) == join(other, making)
    elsewhere("machine-3")
    late = begun(URL, IDS, 8)
    kinds = Making(making.settings, making.labels, making.layout, 8, "other", making.versions)
    assert join(late, kinds).device_kinds == ("stub", "other") and "several kinds" in join(late, making).warnings[0]


def test_of_two_machines_that_list_at_once_the_second_must_have_the_same(store: Path, elsewhere: Any) -> None:
    first, seconds = begun(URL, IDS, 8), {}
    (store / "manifest.txt").rename(store.parent / "kept")
    (store / "begun.json").unlink()
    for name in ("same", "other"):
        elsewhere(name)
        seconds[name] = run_folder(URL, Store.disk)
        seconds[name].make()
    (store.parent / "kept").rename(store / "manifest.txt")
    assert seconds["same"].write_manifest(IDS) == first.write_manifest(IDS)
    with pytest.raises(UsageError, match="another process has listed other images"):
        seconds["other"].write_manifest(["a"])


def test_a_folder_finds_its_place_on_another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "one"))
    data = pickle.dumps(stub_run(URL, IDS, 8, "~/.cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    folder = pickle.loads(data)
    assert str(tmp_path / "other") in str(folder.path) and folder.manifest.read_text().splitlines() == IDS


def test_what_cannot_be_written_is_said_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    folder, maker = begun(URL, IDS, 8), StubJob().start(0)
    join(folder, maker.making)
    monkeypatch.setattr(Store, "broken", True)
    monkeypatch.setattr(object_store, "_PAUSE", 0)
    with pytest.raises(BigainError, match=r"part-000000.jsonl: cannot be written \(503 slow down\)"):
        run(folder)
    monkeypatch.setattr(Store, "broken", False)
    (first, *_) = shards(folder.manifest, 8)
    assert [record for record in work(folder, Piece(first), maker) if record] == [], "all eight were kept"
    run(folder)
    assert gathered() == WHOLE


def test_addresses_that_cannot_be_used_are_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url, why in (("ftp://host/x", "s3:// and gs:// only"), ("hf://datasets/x", "s3:// and gs:// only")):
        with pytest.raises(UsageError, match=why):
            begun(url, IDS)
    store.mkdir(parents=True)
    (store / "thesis.doc").write_text("")
    with pytest.raises(UsageError, match=r"holds other files \(thesis.doc\)"):
        begun(URL, IDS)
    with pytest.raises(UsageError, match="no run there"):
        existing("s3://bucket/empty")
    for begin in (begun, lambda url, ids: existing(url)):
        with pytest.raises(UsageError, match="there is no bucket buckett"):
            begin("s3://buckett/results", IDS)
    monkeypatch.setitem(object_store.LIBRARIES, "s3", "no_such_library")
    with pytest.raises(UsageError, match=r"needs no_such_library, which is not installed.*bigain\[remote\]"):
        begun(URL, IDS)


def test_classify_status_and_gather_take_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which knows the store."""
    from bigain_cli.cli.app import run_command_line

    monkeypatch.chdir(tmp_path)
    commands.gallery(tmp_path / "photos", 5)
    classify = ["classify", "photos", "-l", "red,green,blue", "-m", "colours", "-q"]
    assert run_command_line([*classify, "-o", URL, "--shard", "1/1", "--shard-size", "2"]) == 0
    assert run_command_line(["gather", URL, "-o", "all.jsonl", "-q"]) == 0
    assert run_command_line([*classify, "-o", "plain.jsonl"]) == 0
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "plain.jsonl").read_bytes()
    assert json.loads(existing(URL).read_record() or b"")["count"] == 5
    with pytest.raises(UsageError, match="Add --workers"):
        run_command_line([*classify, "-o", "s3://bucket/plain.jsonl"])


@pytest.mark.parametrize("output", ["s3://bucket/red.png", "s3://bucket/images/"])
def test_generate_takes_no_address(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bigain_cli.cli.app import run_command_line

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="only a run over shards writes to an object store"):
        run_command_line(["generate", "red", "-m", "colours", "-o", output])
    assert not list(tmp_path.glob("s3*"))


def test_two_machines_with_other_shards_are_told_before_a_model_is_loaded(elsewhere: Any) -> None:
    begun(URL, IDS, 8)
    elsewhere("machine-2")
    with pytest.raises(UsageError, match="shards of 8"):
        begun(URL, IDS, 4)


def test_without_its_run_json_a_run_does_not_go_on(store: Path) -> None:
    stopped(3)
    (store / "run.json").unlink()
    with pytest.raises(UsageError, match=r"run.json: is gone"):
        begun(URL, IDS, 8)


class Vague(Store):
    """A store that refuses to replace an object in words of its own."""

    def put_file(self, lpath: str, rpath: str, *args: Any, **kwargs: Any) -> None:
        try:
            super().put_file(lpath, rpath, *args, **kwargs)
        except FileExistsError as problem:
            raise OSError(22, "precondition failed") from problem


def test_a_store_with_other_words_for_an_object_that_is_there(elsewhere: Any) -> None:
    fsspec.register_implementation("s3", Vague, clobber=True)
    begun(URL, IDS, 8)
    elsewhere("machine-2")
    other = existing(URL)
    assert not other.begin_record(b"{}") and json.loads(other.read_record() or b"")["count"] == 21


def test_a_part_that_is_there_stays(store: Path, elsewhere: Any) -> None:
    folder, maker = begun(URL, IDS, 8), StubJob().start(0)
    join(folder, maker.making)
    elsewhere("machine-2")
    slow, first = begun(URL, IDS, 8), next(shards(folder.manifest, 8))
    steps = work(slow, Piece(first), maker)
    next(steps)  # it has begun
    for _ in work(folder, Piece(first), maker):
        pass
    (store / "part-000000.jsonl").write_bytes(part := (store / "part-000000.jsonl").read_bytes().replace(b"a", b"b"))
    list(steps)
    assert (store / "part-000000.jsonl").read_bytes() == part and not list(store.glob(".part*"))


def test_an_empty_object_in_the_place_of_the_folder_is_no_other_file(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Store.ls
    monkeypatch.setattr(Store, "ls", lambda self, path, **how: [path, *listed(self, path, **how)])
    run(begun(URL, IDS, 8))
    assert gathered() == WHOLE
