"""What is said on stderr while records go elsewhere: notes, progress, live standings.

Never touches stdout, so that data is the same bytes whether or not anybody is watching.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, TextIO

from bigain_cli.cli.standings import clock, most_left, table
from bigain_cli.outputs.table import gap
from bigain_cli.outputs.text import counted, safe
from bigain_cli.ranking import Failure, Ranking


class Talk:
    """Notes on stderr; `quiet` keeps errors only, `verbose` adds how things were understood."""

    def __init__(self, quiet: bool, verbose: bool) -> None:
        self.quiet, self.verbose = quiet, verbose

    def note(self, message: str) -> None:
        """Say something the user should know."""
        if not self.quiet:
            _line(f"bigain: {message}")

    def error(self, message: str) -> None:
        """Say what went wrong, however quiet."""
        _line(f"bigain: {message}")

    def recorded(self, path: str, count: str, failures: int, others: str = "") -> None:
        """Say what a file of records holds already."""
        failed = f", {failures} of them failures (remove their lines to try again)" if failures else ""
        self.note(f"{path}: {count} already recorded{failed}{others}")

    def detail(self, message: str) -> None:
        """Say how something was understood, if asked to."""
        if self.verbose and not self.quiet:
            _line(f"bigain: {message}")

    def warn(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Stand in for `warnings.showwarning`."""
        self.note(f"warning: {message}")


PAUSE = 1.0  # seconds between an image's lines where there is no terminal


class Progress:
    """Counts results on a terminal; with `watch` shows the standings of the image under way, line by line elsewhere."""

    def __init__(self, talk: Talk, watch: bool) -> None:
        self._talk, self._watch = talk, watch and not talk.quiet
        self._console: Any = None
        self._live: Any = None
        self.results = self._evaluations = 0
        self._under_way: dict[str, tuple[int, int]] = {}  # draws and evaluations
        self._left: dict[str, int] = {}  # evaluations that pictures under way may still take
        self._told: dict[str, float] = {}  # when a line was last due for a picture under way
        self._started = self._drawn = time.monotonic()

    def __enter__(self) -> Progress:
        if sys.stderr.isatty() and not self._talk.quiet:
            from rich.console import Console

            self._console = Console(stderr=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._erase()

    def step_aside(self) -> None:
        """Leave the terminal to a record, if records go there too."""
        if sys.stdout.isatty():
            self._erase()

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
        if self._console is not None:
            self._draw(outcome)
        elif self._watch and isinstance(outcome, Ranking) and self._due(outcome):
            _line(plain(outcome, self._pace()))

    def _due(self, outcome: Ranking) -> bool:
        """Tell whether to say a line: one for each answer, before it one a second."""
        if outcome.finished:
            self._told.pop(outcome.id, None)
            return True
        now = time.monotonic()
        if now - self._told.setdefault(outcome.id, now) < PAUSE:
            return False
        self._told[outcome.id] = now
        return True

    def _draw(self, outcome: Ranking | Failure) -> None:
        """Draw anew, but not more often than eyes can follow."""
        from rich.live import Live

        now = time.monotonic()
        if not outcome.finished and now - self._drawn < 0.1:
            return
        self._drawn = now
        if self._live is None:
            self._live = Live(console=self._console, transient=True, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        self._live.update(self._picture(outcome), refresh=True)

    def _erase(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _picture(self, outcome: Ranking | Failure) -> Any:
        from rich.console import Group
        from rich.text import Text

        status = Text(self._status(), style="dim")
        if not (self._watch and isinstance(outcome, Ranking)):
            return status
        return Group(table(outcome), status)

    def _status(self) -> str:
        """Say what is done, how fast, and how long the pictures under way may take at most."""
        pace = self._pace()
        words = [f"{self.results} done", counted(self._evaluations, "evaluation"), f"{pace:.1f}/s"]
        if self._left and pace > 0:
            others = f" for {len(self._left)} under way" if len(self._left) > 1 else ""
            words.append(f"at most {clock(sum(self._left.values()) / pace)} left{others}")
        return " · ".join(words)

    def _pace(self) -> float:
        """Return the evaluations of a second, all images taken together."""
        return self._evaluations / max(time.monotonic() - self._started, 1e-3)


def plain(ranking: Ranking, pace: float) -> str:
    """Say in a line where an image stands, and how fast the run is."""
    state = "done" if ranking.finished else "running"
    first = ", ".join(f"{safe(place.label)} {place.probability:.2f}" for place in ranking.standings[:3])
    spent = f"{counted(ranking.draws, 'draw')}, {counted(ranking.evaluations, 'evaluation')}, {pace:.1f}/s"
    distance = f"gap {gap({'gap': ranking.gap, 'gap_interval': ranking.gap_interval})}"
    return f"{ranking.id!r}: {state}, {spent}, {distance}, {len(ranking.contenders)} in the race: {first}"


def _line(message: str) -> None:
    sys.stderr.write(message.encode(errors="backslashreplace").decode() + "\n")
    sys.stderr.flush()
