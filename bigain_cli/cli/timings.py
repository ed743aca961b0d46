"""A benchmark laid out: lines that say under which conditions, then a table, as plain text or as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bigain_cli.outputs.text import aligned

Found = dict[str, Any]
COLUMNS: dict[str, Callable[[Found], str]] = {
    "spec": lambda row: row["compress"],
    "evals/s": lambda row: f"{row['evaluations_per_second']:.4g}",
    "ms/eval [min, max]": lambda row: spread(row["milliseconds"]),
    "times as fast [min, max]": lambda row: spread(row["ratio"]),
    "GFLOP": lambda row: _number(row["gflop"], "{:.5g}"),
    "of peak": lambda row: _number(row["share_of_peak"], "{:.1%}"),
    "outside ms": lambda row: _number(row["outside_milliseconds"], "{:.3g}"),
    "bookkeeping ms": lambda row: _number(row["bookkeeping_milliseconds"], "{:.3g}"),
    "peak GiB": lambda row: f"{row['peak_memory'] / 2**30:.2f}",
}


def as_text(found: Found) -> str:
    """Lay out for a terminal."""
    head, *rows = _rows(found)
    return "\n".join([*conditions(found), "", aligned(head, rows)])


def as_markdown(found: Found) -> str:
    """Lay out for a document."""
    head, *rows = (f"| {' | '.join(row)} |" for row in _rows(found))
    rule = "|---|" + "---:|" * (len(COLUMNS) - 1)
    return "\n".join([*(f"{line}  " for line in conditions(found)), "", head, rule, *rows])


def conditions(found: Found) -> list[str]:
    """Say under which conditions the numbers hold."""
    weights = "random weights" if found["weights"] == "random" else f"weights {found['weights']}"
    many = "" if found["parameters"] is None else f", {found['parameters'] / 1e6:.1f} M parameters"
    width, height = found["size"]
    filled = f", {found['filled']} rows of the last one filled up" if found["filled"] else ""
    shared = "what no label enters computed once a draw" if found["prefix"] else "everything computed for each label"
    made = "compiled" if found["compile"] else "not compiled"
    kernel = "" if found["attention"] is None else f"attention: {found['attention']}; "
    return [
        f"{found['model']} ({weights}{many}) at {width}x{height} in {found['dtype']}",
        f"{found['device_name']} ({found['device']}), {found['threads']} CPU threads, torch {found['torch']}",
        f"a turn: {found['labels']} labels x {found['draws']} draws = {found['evaluations']} evaluations "
        f"in batches of {found['batch']}{filled}; {shared}, {made}",
        f"{found['rounds']} rounds, every spec in turn, after {found['warm_up']} to warm up",
        f"{kernel}peak: {_peak(found['peak_gflop_per_second'])} in a matrix product; memory: {found['memory']}",
    ]


def spread(value: dict[str, float]) -> str:
    """Write a median with the range around it."""
    return f"{value['median']:.4g} [{value['low']:.4g}, {value['high']:.4g}]"


def _rows(found: Found) -> list[list[str]]:
    return [list(COLUMNS), *([cell(row) for cell in COLUMNS.values()] for row in found["timings"])]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _peak(gflop: float) -> str:
    return f"{gflop:.4g} GFLOP/s" if gflop < 1e4 else f"{gflop / 1e3:.4g} TFLOP/s"
