"""The progress of a classification: a count, and a live table of the image under way if that is wanted.

The table's interval bars close in, and labels out of the race are grey.
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
MOST = 12  # labels in the table
WIDTH = 32  # of the bars, in cells


class ClassifyProgress(Display):
    """Counts results on a terminal; with `watch` adds the table, or elsewhere lines, of the image under way."""

    def __init__(self, messages: Messages, watch: bool) -> None:
        super().__init__(messages)
        self._watch = watch and not messages.quiet
        self.results = self._evaluations = 0
        self._under_way: dict[str, tuple[int, int]] = {}  # draws and evaluations
        self._left: dict[str, int] = {}  # evaluations that images under way may still take
        self._lines: dict[str, float] = {}  # when a line was last due for an image under way

    def show(self, outcome: Ranking | Failure) -> None:
        """Take a step into account."""
        if isinstance(outcome, Ranking):
            before = self._under_way.pop(outcome.id, (0, 0))
            self._evaluations += outcome.evaluations - before[1]
            self._left.pop(outcome.id, None)
            if not outcome.finished:
                self._under_way[outcome.id] = (outcome.draws, outcome.evaluations)
                self._left[outcome.id] = most_left(outcome, before)
        self.results += outcome.finished
        if self.on_terminal:
            if self.due(urgent=outcome.finished):
                self.draw(self._content(outcome))
        elif self._watch and isinstance(outcome, Ranking) and self._line_due(outcome):
            write_line(plain(outcome, self._pace()))

    def _line_due(self, outcome: Ranking) -> bool:
        """Tell whether to write a line: one for each answer, before it one a second."""
        if outcome.finished:
            self._lines.pop(outcome.id, None)
            return True
        now = time.monotonic()
        if now - self._lines.setdefault(outcome.id, now) < PAUSE:
            return False
        self._lines[outcome.id] = now
        return True

    def _content(self, outcome: Ranking | Failure) -> Any:
        from rich.console import Group
        from rich.text import Text

        status = Text(self.status(), style="dim")
        return Group(table(outcome), status) if self._watch and isinstance(outcome, Ranking) else status

    def status(self) -> str:
        """Say what is done, how fast, and how long the images under way may take at most."""
        pace = self._pace()
        words = [f"{self.results} done", counted(self._evaluations, "evaluation"), f"{pace:.1f}/s"]
        if self._left and pace > 0:
            others = f" for {len(self._left)} under way" if len(self._left) > 1 else ""
            words.append(f"at most {clock(sum(self._left.values()) / pace)} left{others}")
        return " · ".join(words)

    def _pace(self) -> float:
        """Return the evaluations of a second, all images taken together."""
        return self._evaluations / max(time.monotonic() - self.began, 1e-3)


def plain(ranking: Ranking, pace: float) -> str:
    """Say in a line how an image's ranking stands, and how fast the run is."""
    state = "done" if ranking.finished else "running"
    first = ", ".join(f"{safe(place.label)} {place.probability:.2f}" for place in ranking.ranked[:3])
    spent = f"{counted(ranking.draws, 'draw')}, {counted(ranking.evaluations, 'evaluation')}, {pace:.1f}/s"
    distance = f"gap {gap_text({'gap': ranking.gap, 'gap_interval': ranking.gap_interval})}"
    return f"{ranking.id!r}: {state}, {spent}, {distance}, {len(ranking.contenders)} in the race: {first}"


def table(ranking: Ranking) -> Any:
    """Return a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    racing = len(ranking.contenders)
    title = f"{safe(ranking.id)} · {counted(ranking.draws, 'draw')} · {racing} of {len(ranking.ranked)} in the race"
    grid = Table(title=Text(title, overflow="ellipsis"), box=None, title_justify="left", header_style="dim")
    grid.add_column("label", overflow="ellipsis", no_wrap=True, max_width=30)
    grid.add_column("prob", justify="right")
    grid.add_column("gap to the leader", no_wrap=True)
    grid.add_column("draws", justify="right")
    first = ranking.ranked[:MOST]
    ends = axis_ends(first)
    for number, place in enumerate(first):
        style = ("bold" if number == 0 else "") if place.alive else "bright_black"
        grid.add_row(
            Text(safe(place.label)), f"{place.probability:.2f}", bar(place, ends), str(place.draws), style=style
        )
    if hidden := len(ranking.ranked) - len(first):
        grid.add_row(Text(f"and {hidden} more"), style="bright_black")
    return grid


def bar(place: RankedLabel, ends: tuple[float, float], width: int = WIDTH) -> str:
    """Draw a label's gap to the leader as a dot on its interval; the leader is the upright line."""

    def cell(value: float) -> int:
        return min(int(fraction(value, ends) * width), width - 1)

    cells = [" "] * width
    if place.radius is not None:
        first, last = cell(place.behind - place.radius), cell(place.behind + place.radius)
        cells[first : last + 1] = "─" * (last - first + 1)
    zero = cell(0.0)
    cells[zero] = "│" if cells[zero] == " " else "┼"
    cells[cell(place.behind)] = {-1: "‹", 0: "●", 1: "›"}[beyond(place.behind, ends)]
    return "".join(cells)


def most_left(ranking: Ranking, before: tuple[int, int]) -> int:
    """Return the evaluations that an image may still take; `before` it had so many draws and evaluations."""
    draws, evaluations = before
    if ranking.draws == draws:
        return 0
    cost = (ranking.evaluations - evaluations) / (ranking.draws - draws)
    most = cost * (ranking.settings.get("max_draws", ranking.draws) - ranking.draws)
    budget = ranking.settings.get("budget")
    return int(most if budget is None else min(most, budget - ranking.evaluations))
