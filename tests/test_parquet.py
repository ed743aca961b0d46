"""Records as Parquet: a reader of its own gives them back with their types; without pyarrow the format is refused."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import commands
import pytest
from commands import LABELS, warm
from hypothesis import given, settings
from hypothesis import strategies as st
from test_outputs import failure, ranking, records, spelt, written

from bigain_cli.cli.app import run_command_line
from bigain_cli.errors import UsageError
from bigain_cli.outputs import parquet as module
from bigain_cli.outputs.csv_tsv import COLUMNS, cells
from bigain_cli.outputs.parquet import Parquet

parquet = pytest.importorskip("pyarrow.parquet")


def read(data: bytes) -> list[dict[str, Any]]:
    return parquet.read_table(io.BytesIO(data)).to_pylist()


def as_spelt(value: Any) -> Any:
    if isinstance(value, str):
        return spelt(value)
    if isinstance(value, dict):
        return {name: as_spelt(part) for name, part in value.items()}
    return [as_spelt(part) for part in value] if isinstance(value, list) else value


@settings(max_examples=30)
@given(st.lists(records, max_size=4))
def test_any_records_come_back(entries: list[dict[str, Any]]) -> None:
    rows = read(written(Parquet(), entries))
    for row, entry in zip(rows, entries, strict=True):
        assert [row[name] for name in COLUMNS] == as_spelt(cells(entry, 1))
        assert row["top"] == as_spelt(entry.get("top")) and row["contenders"] == as_spelt(entry.get("contenders"))
        assert row["settings"] == spelt(json.dumps(entry["settings"], ensure_ascii=False))


def test_columns_and_types_do_not_depend_on_the_records() -> None:
    files = [written(Parquet(), entries) for entries in ([], [failure()], [ranking()])]
    schemas = {str(parquet.read_schema(io.BytesIO(data))) for data in files}
    assert len(schemas) == 1 and "settled: bool" in (schema := schemas.pop()) and "draws: int64" in schema
    assert written(Parquet(), [ranking()]) == files[2], "the same records, the same bytes"


def test_rows_are_written_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP", 2)
    data = written(Parquet(), [ranking(str(number)) for number in range(5)])
    assert [row["id"] for row in read(data)] == list("01234")
    assert parquet.ParquetFile(io.BytesIO(data)).num_row_groups == 3


def test_the_command_writes_it_by_the_suffix(tmp_path: Path) -> None:
    commands.image(tmp_path / "photo.jpg")
    command = ("classify", "photo.jpg", "gone.png", *LABELS)
    done = warm(*command, "-o", "x.parquet", cwd=tmp_path)
    assert (done.code, done.out) == (1, b"")
    one, other = read((tmp_path / "x.parquet").read_bytes())
    (record, _) = warm(*command, "--jsonl", cwd=tmp_path).records
    assert one["label"] == "red" and one["top"] == record["top"] and json.loads(one["settings"]) == record["settings"]
    assert other["error_kind"] == "not-found" and other["label"] is None and other["top"] is None
    assert {path.name for path in tmp_path.iterdir()} == {"photo.jpg", "x.parquet"}


def test_without_its_library_it_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as refused:
        run_command_line(["classify", "x.jpg", *LABELS, "-o", str(tmp_path / "x.parquet")])
    assert str(refused.value).endswith(
        "x.parquet: pyarrow writes it, and it is not installed. pip install 'bigain[parquet]'"
    )
