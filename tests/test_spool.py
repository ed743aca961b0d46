"""Bytes to be read again are the same in memory and in a file, and a full disk takes nothing of them."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_outputs import ranking

from bigain_cli.outputs.html_report import Html
from bigain_cli.outputs.output_format import opened
from bigain_cli.outputs.spool import Spool
from bigain_cli.outputs.target_stream import WriteError
from bigain_cli.outputs.whole_files import open_target


@given(st.lists(st.binary(max_size=9), max_size=8), st.integers(0, 20))
def test_what_was_written_is_read_in_whole_and_in_places(pieces: list[bytes], memory: int) -> None:
    spool, stream = Spool(memory), io.BytesIO()
    places = [(spool.write(piece), len(piece)) for piece in pieces]
    assert [spool.read(*place) for place in reversed(places)] == pieces[::-1]
    spool.copy_to(stream)
    spool.close()
    assert stream.getvalue() == b"".join(pieces)


class FullDisk:
    """A file with room for so many bytes."""

    def __init__(self, room: int) -> None:
        self._file, self._room = io.BytesIO(), room

    def write(self, data: Any) -> int:
        if self._file.tell() + len(data) > self._room:
            part = data[: max(0, self._room - self._file.tell())]
            if part:
                return self._file.write(part)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("room", [2, 12])
def test_a_full_disk_keeps_what_was_there(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: FullDisk(room))
    spool, stream = Spool(memory=10), io.BytesIO()
    spool.write(b"abcdefgh")
    for _ in range(2):
        with pytest.raises(WriteError, match="No space left") as full:
            spool.write(b"ijklmn")
        assert full.value.what == tempfile.gettempdir()
    spool.copy_to(stream)
    assert stream.getvalue() == b"abcdefgh"


def test_a_report_has_the_images_before_the_disk_for_temporary_files_was_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: FullDisk(0))
    monkeypatch.setattr("bigain_cli.outputs.html_report.Spool", lambda: Spool(memory=60_000))
    target = str(tmp_path / "x.html")
    with (
        pytest.raises(WriteError, match="No space left"),
        open_target(target) as stream,
        opened(Html(), stream, target) as writer,
    ):
        for number in range(10_000):
            writer.write(ranking(f"{number}.jpg"))
    page = Path(target).read_text()
    assert "0.jpg" in page and page.rstrip().endswith("</html>") and "9999.jpg" not in page
