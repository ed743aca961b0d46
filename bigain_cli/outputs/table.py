"""Records as an aligned table for people, a line an image as it is ready, the id last because it is unbounded.

Nothing from a file name or a label reaches the terminal as a control character.
"""

from __future__ import annotations

from typing import BinaryIO

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.outputs.sink import PLAIN, Layout, Record, encode
from bigain_cli.outputs.text import cell_width, pad, safe

_WIDEST = 40  # cells that a column of labels takes at most; longer ones push their line
_GAP = 30  # the widest gap: -1.23e-05 [-1.2e-05, -1.2e-05]
_COLOURS = {"decided": "\x1b[32m", "undecided": "\x1b[33m", "error": "\x1b[31m"}
_RESET = "\x1b[0m"


class Table:
    """Aligned columns: label, probability, verdict, runner-up, gap with its interval, evaluations, image."""

    def __init__(self, layout: Layout = PLAIN) -> None:
        widest = max((cell_width(safe(label)) for label in layout.labels), default=0)
        self._label = min(max(widest, len("runner-up")), _WIDEST)
        self._top, self._colour = layout.top, layout.colour
        self._headed = False

    def open(self, stream: BinaryIO) -> None:
        """Keep the stream; the heading comes with the first record."""
        self._stream = stream

    def write(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Write an image's line, and its ranked labels below it if more than one is wanted."""
        lines = (
            [] if self._headed else [self._line("label", "prob", "verdict", "runner-up", GAP_TITLE, "evals", "image")]
        )
        self._headed = True
        lines.append(self._failure(record) if "error" in record else self._ranking(record))
        if self._top > 1:
            lines += [self._standing(place, entry) for place, entry in enumerate(record.get("top", [])[: self._top], 1)]
        self._stream.write(b"".join(encode(line.rstrip() + "\n") for line in lines))
        self._stream.flush()

    def close(self, complete: bool = True) -> None:
        """Flush."""
        self._stream.flush()

    def _ranking(self, record: Record) -> str:
        verdict = "decided" if record["decided"] else "undecided"
        cells = (record["label"], f"{record['probability']:.2f}", verdict, record["runner_up"] or "-", gap(record))
        return self._line(*cells, str(record["evaluations"]), record["id"])

    def _failure(self, record: Record) -> str:
        message = record["error"]["message"]
        return self._line("-", "-", "error", "-", "-", "-", message if record["id"] in message else record["id"])

    def _standing(self, place: int, entry: Record) -> str:
        score = "" if entry.get("score") is None else f"{entry['score']:.4g}"
        return f"  {place:>2}. {pad(safe(entry['label']), self._label)}  {entry['probability']:.2f}  {score}"

    def _line(self, label: str, probability: str, verdict: str, runner_up: str, gap: str, evals: str, name: str) -> str:
        names = [pad(safe(text), self._label) for text in (label, runner_up)]
        state = f"{verdict:<9}"
        if self._colour and verdict in _COLOURS:
            names[0], state = (f"{_COLOURS[verdict]}{text}{_RESET}" for text in (names[0], state))
        return f"{names[0]}  {probability:>4}  {state}  {names[1]}  {gap:<{_GAP}}  {evals:>6}  {safe(name)}"


GAP_TITLE = "gap [interval]"


def gap(record: Record) -> str:
    """Write the gap between the first two labels, with its interval."""
    if record.get("gap") is None:
        return "-"
    if not record.get("gap_interval"):
        return f"{record['gap']:.3g}"
    low, high = record["gap_interval"]
    return f"{record['gap']:.3g} [{low:.2g}, {high:.2g}]"
