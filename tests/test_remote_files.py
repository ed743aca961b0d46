"""Images of object stores, by an fsspec of the test's own: s3:// without a network."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from bigain_cli import object_store
from bigain_cli.errors import InputError
from bigain_cli.images import find, read, remote_files, source_of_id


class Store(MemoryFileSystem):
    """A store in memory, one of whose folders is closed, and another broken."""

    protocol = "s3"

    def _open(self, path: str, *args: Any, **kwargs: Any) -> Any:
        if "closed" in path:
            raise PermissionError(path)
        if "broken" in path:
            raise RuntimeError("503 \n slow down")
        return super()._open(path, *args, **kwargs)


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = fsspec.registry.get("s3")
    fsspec.register_implementation("s3", Store, clobber=True)
    monkeypatch.setitem(object_store.LIBRARIES, "s3", "fsspec")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(buffer, "PNG")
    with fsspec.open("s3://photos/teal.png", "wb") as file:
        file.write(buffer.getvalue())
    yield
    if before is not None:
        fsspec.register_implementation("s3", before, clobber=True)


def test_an_image_of_a_store_is_read_by_a_run_and_by_a_worker() -> None:
    (source,) = find(["s3://photos/teal.png"])
    assert source.id == "s3://photos/teal.png" and source.error is None
    for each in (source, source_of_id(source.id)):
        assert read(each).getpixel((0, 0)) == (0, 128, 128)


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("s3://photos/gone.png", "not-found", "no such file"),
        ("s3://photos/closed/x.png", "permission-denied", "no permission"),
        ("s3://photos/broken/x.png", "http-error", r"cannot be read \(503 slow down\)"),
    ],
)
def test_what_cannot_be_read_is_an_error_of_one_image(url: str, kind: str, said: str) -> None:
    (source,) = find([url])
    with pytest.raises(InputError, match=said) as failed:
        read(source)
    assert failed.value.kind == kind


def test_a_large_file_and_a_missing_library_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = find(["s3://photos/teal.png"])
    monkeypatch.setattr(remote_files, "MOST_BYTES", 10)
    with pytest.raises(InputError, match="more than 0 MiB"):
        read(source)
    monkeypatch.setitem(object_store.LIBRARIES, "s3", "no_such_library")
    with pytest.raises(InputError, match=r"s3:// is read with no_such_library.*pip install 'bigain\[remote\]'"):
        read(source)


def test_offline_nothing_is_read() -> None:
    (source,) = find(["s3://photos/teal.png"], offline=True)
    assert source.error is not None and source.error.kind == "offline"
