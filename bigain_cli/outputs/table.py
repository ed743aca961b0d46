"""Records as an aligned table for people, a line for each image, the id last because its length is not bounded.

No control character of a file name or a label reaches the terminal.
"""

from __future__ import annotations

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.outputs.output_format import PLAIN, Layout, OutputFormat, Record, encode
from bigain_cli.outputs.text import cell_width, pad, safe

GAP_TITLE = "gap [interval]"
_MOST = 40  # cells of a column of labels; longer labels shift the rest of their line
_GAP = 30  # cells of the widest gap: -1.23e-05 [-1.2e-05, -1.2e-05]
_COLOURS = {"decided": "\x1b[32m", "undecided": "\x1b[33m", "error": "\x1b[31m"}
_RESET = "\x1b[0m"


class Table(OutputFormat):
    """Aligned columns: label, probability, verdict, runner-up, gap with its interval, evaluations, image."""

    def __init__(self, layout: Layout = PLAIN) -> None:
        super().__init__(layout)
        widest = max((cell_width(safe(label)) for label in layout.labels), default=0)
        self._width = min(max(widest, len("runner-up")), _MOST)
        self._has_header = False

    def write(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Write an image's line, below the header if it is the first, above its ranked labels if several are shown."""
        header = [self._line("label", "prob", "verdict", "runner-up", GAP_TITLE, "evals", "image")]
        lines = [] if self._has_header else header
        self._has_header = True
        lines.append(self._failure(record) if "error" in record else self._ranking(record))
        if (top := self._layout.top) > 1:
            lines += [self._ranked_label(rank, entry) for rank, entry in enumerate(record.get("top", [])[:top], 1)]
        self._stream.write(b"".join(encode(line.rstrip() + "\n") for line in lines))
        self._stream.flush()

    def _ranking(self, record: Record) -> str:
        verdict = "decided" if record["decided"] else "undecided"
        cells = (record["label"], f"{record['probability']:.2f}", verdict, record["runner_up"] or "-", gap_text(record))
        return self._line(*cells, str(record["evaluations"]), record["id"])

    def _failure(self, record: Record) -> str:
        message = record["error"]["message"]
        return self._line("-", "-", "error", "-", "-", "-", message if record["id"] in message else record["id"])

    def _ranked_label(self, rank: int, entry: Record) -> str:
        score = "" if entry.get("score") is None else f"{entry['score']:.4g}"
        return f"  {rank:>2}. {pad(safe(entry['label']), self._width)}  {entry['probability']:.2f}  {score}"

    def _line(self, label: str, probability: str, verdict: str, runner_up: str, gap: str, evals: str, name: str) -> str:
        names = [pad(safe(text), self._width) for text in (label, runner_up)]
        state = f"{verdict:<9}"
        if self._layout.colour and verdict in _COLOURS:
            names[0], state = (f"{_COLOURS[verdict]}{text}{_RESET}" for text in (names[0], state))
        return f"{names[0]}  {probability:>4}  {state}  {names[1]}  {gap:<{_GAP}}  {evals:>6}  {safe(name)}"


def gap_text(record: Record) -> str:
    """Return the gap between the first two labels, with its interval."""
    if record.get("gap") is None:
        return "-"
    if not record.get("gap_interval"):
        return f"{record['gap']:.3g}"
    low, high = record["gap_interval"]
    return f"{record['gap']:.3g} [{low:.2g}, {high:.2g}]"
