"""The progress of `classify` on stderr: a count, and with --watch a live table of the image in progress.

Each label has a bar for its gap's interval; eliminated labels are grey.
"""

from __future__ import annotations

import time
from typing import Any

from bigain_cli.classification.ranking import Failure, RankedLabel, Ranking
from bigain_cli.cli.messages import Messages, write_line
from bigain_cli.cli.progress import Display, clock
from bigain_cli.outputs.interval_bars import axis_ends, beyond, fraction
from bigain_cli.outputs.table import gap_text
from bigain_cli.outputs.text import counted, safe

PAUSE = 1.0  # seconds between an image's lines where there is no terminal
MOST_LABELS = 12  # in the table
WIDTH = 32  # of the bars, in cells


class ClassifyProgress(Display):
    """Counts results; with `watch` adds the table or, without a terminal, a line for the image in progress."""

    def __init__(self, messages: Messages, watch: bool) -> None:
        super().__init__(messages)
        self._watch = watch and not messages.quiet
        self.results = self._evaluations = 0
        self._in_progress: dict[str, tuple[int, int]] = {}  # draws and evaluations
        self._left: dict[str, int] = {}  # most evaluations that images in progress still need
        self._line_times: dict[str, float] = {}  # when an image in progress last had a line

    def show(self, outcome: Ranking | Failure) -> None:
        """Show a result, or the ranking so far of an image in progress."""
        if isinstance(outcome, Ranking):
            before = self._in_progress.pop(outcome.id, (0, 0))
            self._evaluations += outcome.evaluations - before[1]
            self._left.pop(outcome.id, None)
            if not outcome.finished:
                self._in_progress[outcome.id] = (outcome.draws, outcome.evaluations)
                self._left[outcome.id] = most_evaluations_left(outcome, before)
        self.results += outcome.finished
        if self.on_terminal:
            if self.due(urgent=outcome.finished):
                self.update(self._render(outcome))
        elif self._watch and isinstance(outcome, Ranking) and self._line_due(outcome):
            write_line(plain(outcome, self._pace()))

    def _line_due(self, outcome: Ranking) -> bool:
        """Return whether to write a line: one per result, and one a second before it."""
        if outcome.finished:
            self._line_times.pop(outcome.id, None)
            return True
        now = time.monotonic()
        if now - self._line_times.setdefault(outcome.id, now) < PAUSE:
            return False
        self._line_times[outcome.id] = now
        return True

    def _render(self, outcome: Ranking | Failure) -> Any:
        from rich.console import Group
        from rich.text import Text

        status = Text(self.status(), style="dim")
        return Group(table(outcome), status) if self._watch and isinstance(outcome, Ranking) else status

    def status(self) -> str:
        """Return what is done, how fast, and the most time that the images in progress may take."""
        pace = self._pace()
        parts = [f"{self.results} done", counted(self._evaluations, "evaluation"), f"{pace:.1f}/s"]
        if self._left and pace > 0:
            others = f" for {len(self._left)} in progress" if len(self._left) > 1 else ""
            parts.append(f"at most {clock(sum(self._left.values()) / pace)} left{others}")
        return " · ".join(parts)

    def _pace(self) -> float:
        """Return the evaluations per second over all images."""
        return self._evaluations / max(time.monotonic() - self.began, 1e-3)


def plain(ranking: Ranking, pace: float) -> str:
    """Return one line with an image's ranking and the speed of the run."""
    state = "done" if ranking.finished else "running"
    first = ", ".join(f"{safe(ranked.label)} {ranked.probability:.2f}" for ranked in ranking.ranked[:3])
    cost = f"{counted(ranking.draws, 'draw')}, {counted(ranking.evaluations, 'evaluation')}, {pace:.1f}/s"
    interval = f"gap {gap_text({'gap': ranking.gap, 'gap_interval': ranking.gap_interval})}"
    return f"{ranking.id!r}: {state}, {cost}, {interval}, {counted(len(ranking.contenders), 'contender')}: {first}"


def table(ranking: Ranking) -> Any:
    """Return an image's ranking as a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    contenders = f"{counted(len(ranking.contenders), 'contender')} of {counted(len(ranking.ranked), 'label')}"
    title = f"{safe(ranking.id)} · {counted(ranking.draws, 'draw')} · {contenders}"
    grid = Table(title=Text(title, overflow="ellipsis"), box=None, title_justify="left", header_style="dim")
    grid.add_column("label", overflow="ellipsis", no_wrap=True, max_width=30)
    grid.add_column("prob", justify="right")
    grid.add_column("gap to the leader", no_wrap=True)
    grid.add_column("draws", justify="right")
    first = ranking.ranked[:MOST_LABELS]
    ends = axis_ends(first)
    for number, ranked in enumerate(first):
        style = ("bold" if number == 0 else "") if ranked.is_contender else "bright_black"
        grid.add_row(
            Text(safe(ranked.label)), f"{ranked.probability:.2f}", bar(ranked, ends), str(ranked.draws), style=style
        )
    if hidden := len(ranking.ranked) - len(first):
        grid.add_row(Text(f"and {hidden} more"), style="bright_black")
    return grid


def bar(ranked: RankedLabel, ends: tuple[float, float], width: int = WIDTH) -> str:
    """Return a bar of text: a label's gap to the leader as a dot on its interval; the upright line is the leader."""

    def cell(value: float) -> int:
        return min(int(fraction(value, ends) * width), width - 1)

    cells = [" "] * width
    if ranked.half_width is not None:
        first, last = cell(ranked.gap - ranked.half_width), cell(ranked.gap + ranked.half_width)
        cells[first : last + 1] = "─" * (last - first + 1)
    zero = cell(0.0)
    cells[zero] = "│" if cells[zero] == " " else "┼"
    cells[cell(ranked.gap)] = {-1: "‹", 0: "●", 1: "›"}[beyond(ranked.gap, ends)]
    return "".join(cells)


def most_evaluations_left(ranking: Ranking, before: tuple[int, int]) -> int:
    """Return the most evaluations that an image still needs, given its draws and evaluations `before` the last step."""
    draws, evaluations = before
    if ranking.draws == draws:
        return 0
    cost = (ranking.evaluations - evaluations) / (ranking.draws - draws)
    most = cost * (ranking.settings.get("max_draws", ranking.draws) - ranking.draws)
    budget = ranking.settings.get("budget")
    return int(most if budget is None else min(most, budget - ranking.evaluations))
