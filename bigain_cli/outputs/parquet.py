"""Records as a Parquet file: the columns of CSV with their types, a list of the first labels, settings as JSON.

Rows are written in groups, so that a long run needs little memory. Needs pyarrow, which is imported at the first use.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.outputs.csv_tsv import COLUMNS, cells
from bigain_cli.outputs.output_format import OutputFormat, Record, encode

GROUP = 10_000  # rows
_TYPES = {
    **dict.fromkeys(("settled", "decided"), "bool_"),
    **dict.fromkeys(("draws", "evaluations", "asked", "not_asked"), "int64"),
    **dict.fromkeys(("probability", "gap", "gap_low", "gap_high", "remainder"), "float64"),
}


class Parquet(OutputFormat):
    """A table with a row for each image."""

    def open(self, stream: BinaryIO) -> None:
        """Begin the file."""
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        super().open(stream)
        self._schema = _schema()
        self._rows: list[dict[str, Any]] = []
        self._writer: Any = ParquetWriter(pyarrow.PythonFile(stream, "w"), self._schema)

    def add(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Add a record's row."""
        row = dict(zip(COLUMNS, cells(record, 1), strict=True))
        row |= {name: record.get(name) for name in ("contenders", "top")}
        row["settings"] = json.dumps(record.get("settings") or {}, ensure_ascii=False)
        self._rows.append(_valid_text(row))
        if len(self._rows) == GROUP:
            self._write_group()

    def close(self, complete: bool = True) -> None:
        """Write the last rows and the foot of the file."""
        if self._rows:
            self._write_group()
        self._writer.close()
        super().close(complete)

    def _write_group(self) -> None:
        from pyarrow import Table

        self._writer.write_table(Table.from_pylist(self._rows, self._schema))
        self._rows = []


def _schema() -> Any:
    """Return the columns' names and types, the same in every run."""
    import pyarrow as pa

    ranked = {"label": pa.string(), "probability": pa.float64(), "score": pa.float64(), "draws": pa.int64()}
    columns = [(name, getattr(pa, _TYPES.get(name, "string"))()) for name in COLUMNS]
    lists = [("contenders", pa.list_(pa.string())), ("top", pa.list_(pa.struct(list(ranked.items()))))]
    return pa.schema([*columns, *lists, ("settings", pa.string())])


def _valid_text(value: Any) -> Any:
    """Return a value whose texts are UTF-8: the bytes of undecodable file names are escaped, as in other formats."""
    if isinstance(value, str):
        return encode(value).decode()
    if isinstance(value, dict):
        return {name: _valid_text(part) for name, part in value.items()}
    return [_valid_text(part) for part in value] if isinstance(value, list) else value
