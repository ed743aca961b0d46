"""Records as an aligned table for people, a line for each image, the id last because its length is not bounded.

Without a width every column is shown, and nothing is shortened. No control character of a name reaches the terminal.
"""

from __future__ import annotations

import textwrap

from bigain_cli.classification.ranking import UNSURE, Failure, Ranking
from bigain_cli.outputs.output_format import PLAIN, Layout, OutputFormat, Record, encode
from bigain_cli.outputs.text import cell_width, pad, safe, shortened

GAP_TITLE = "gap [interval]"
_MOST, _MOST_NARROW = 40, 18  # cells of a column of labels; without a width longer labels shift the rest of their line
_LEAST_NAME = 12  # cells of an image's name
_GAP = 30  # cells of the widest gap: -1.23e-05 [-1.2e-05, -1.2e-05]
_COLOURS = {"settled": "\x1b[32m", "open": "\x1b[33m", "error": "\x1b[31m"}
_RESET = "\x1b[0m"


class Table(OutputFormat):
    """Aligned columns: label, probability, verdict, runner-up, image; wide also gap with interval, and evaluations."""

    def __init__(self, layout: Layout = PLAIN) -> None:
        super().__init__(layout)
        widest = max((cell_width(safe(label)) for label in layout.labels), default=0)
        self._least = layout.min_probability
        if self._least is not None:
            widest += cell_width(f"{UNSURE} ()")
        most = _MOST if layout.width is None else min(_MOST_NARROW, (layout.width - _LEAST_NAME - 19) // 2)
        self._width = min(max(widest, len("runner-up")), most)
        self._has_header = False

    def add(self, record: Record, result: Ranking | Failure | None = None) -> None:
        """Write an image's line, below the header if it is the first, above its ranked labels if several are shown."""
        first = "label" if self._least is None else "answer"
        header = [self._line(first, "prob", "verdict", "runner-up", GAP_TITLE, "evals", "image")]
        lines = [] if self._has_header else header
        self._has_header = True
        lines += self._failure(record) if "error" in record else [self._ranking(record)]
        if (top := self._layout.top) > 1:
            lines += [self._ranked_label(rank, entry) for rank, entry in enumerate(record.get("top", [])[:top], 1)]
        self._stream.write(b"".join(encode(line.rstrip() + "\n") for line in lines))
        self._stream.flush()

    def _ranking(self, record: Record) -> str:
        verdict = "settled" if record["settled"] else "open"
        answer = record["label"] if record["answer"] == record["label"] else f"{record['answer']} ({record['label']})"
        cells = (answer, f"{record['probability']:.2f}", verdict, record["runner_up"] or "-", gap_text(record))
        return self._line(*cells, str(record["evaluations"]), record["id"])

    def _failure(self, record: Record) -> list[str]:
        """Return a line with the message or, where lines are narrow, one with the name and the message below it."""
        message, width = record["error"]["message"], self._layout.width
        if width is None:
            return [self._line("-", "-", "error", "-", "-", "-", message if record["id"] in message else record["id"])]
        why = textwrap.wrap(safe(message.removeprefix(f"{record['id']}: ")), width - 4, break_on_hyphens=False)
        return [self._line("-", "-", "error", "-", "-", "-", record["id"]), *(f"    {line}" for line in why)]

    def _ranked_label(self, rank: int, entry: Record) -> str:
        score = f"  {entry['score']:.4g}" if self._layout.width is None and entry.get("score") is not None else ""
        return f"  {rank:>2}. {pad(self._fitted(entry['label']), self._width)}  {entry['probability']:.2f}{score}"

    def _line(self, label: str, probability: str, verdict: str, runner_up: str, gap: str, evals: str, name: str) -> str:
        names = [pad(self._fitted(text), self._width) for text in (label, runner_up)]
        state = f"{verdict:<7}"
        used = 2 * self._width + 19  # the columns and blanks before the name
        if self._layout.colour and verdict in _COLOURS:
            names[0], state = (f"{_COLOURS[verdict]}{text}{_RESET}" for text in (names[0], state))
        before = f"{names[0]}  {probability:>4}  {state}  {names[1]}"
        if self._layout.width is None:
            return f"{before}  {gap:<{_GAP}}  {evals:>6}  {safe(name)}"
        return f"{before}  {shortened(safe(name), max(self._layout.width - used, _LEAST_NAME))}"

    def _fitted(self, label: str) -> str:
        """Return a label without control characters, shortened where lines have a width."""
        return safe(label) if self._layout.width is None else shortened(safe(label), self._width)


def gap_text(record: Record) -> str:
    """Return the gap between the first two labels, with its interval."""
    if record.get("gap") is None:
        return "-"
    if not record.get("gap_interval"):
        return f"{record['gap']:.3g}"
    low, high = record["gap_interval"]
    return f"{record['gap']:.3g} [{low:.2g}, {high:.2g}]"
