"""What is said on stderr while records go elsewhere: notes, progress, live standings.

Never touches stdout, so that data is the same bytes whether or not anybody is watching.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, TextIO

from bigain_cli.ranking import Failure, Ranking


class Talk:
    """Notes on stderr; `quiet` keeps errors only, `verbose` adds how things were understood."""

    def __init__(self, quiet: bool, verbose: bool) -> None:
        self.quiet, self.verbose = quiet, verbose

    def note(self, message: str) -> None:
        """Say something the user should know."""
        if not self.quiet:
            _line(f"bigain: {message}")

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


class Progress:
    """Counts results on a terminal; with `watch` shows the standings of the image under way, line by line elsewhere."""

    def __init__(self, talk: Talk, watch: bool) -> None:
        self._talk, self._watch = talk, watch and not talk.quiet
        self._console: Any = None
        self._live: Any = None
        self.results = self._evaluations = 0
        self._under_way: dict[str, int] = {}
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
            self._evaluations += outcome.evaluations - self._under_way.pop(outcome.id, 0)
            if not outcome.finished:
                self._under_way[outcome.id] = outcome.evaluations
        self.results += outcome.finished
        if self._console is not None:
            self._draw(outcome)
        elif self._watch and isinstance(outcome, Ranking):
            _line(plain(outcome))

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

        pace = self._evaluations / max(time.monotonic() - self._started, 1e-3)
        status = Text(f"{self.results} done · {self._evaluations} evaluations · {pace:.1f}/s", style="dim")
        if not (self._watch and isinstance(outcome, Ranking)):
            return status
        return Group(standings(outcome), status)


def standings(ranking: Ranking) -> Any:
    """Return a table of the labels, those out of the race in grey."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{ranking.id} · {ranking.draws} draws"), box=None, title_justify="left")
    for column in ("label", "probability", "score", "draws"):
        table.add_column(column, justify="left" if column == "label" else "right")
    for place in ranking.standings[:12]:
        style = "bold" if place.alive else "dim"
        table.add_row(
            Text(place.label), f"{place.probability:.3f}", f"{place.score:.5f}", str(place.draws), style=style
        )
    return table


def plain(ranking: Ranking) -> str:
    """Say in a line where an image stands."""
    state = "done" if ranking.finished else "running"
    first = ", ".join(f"{place.label} {place.probability:.2f}" for place in ranking.standings[:3])
    spent = f"{ranking.draws} draws, {ranking.evaluations} evaluations"
    return f"{ranking.id!r}: {state}, {spent}, {len(ranking.contenders)} in the race: {first}"


def _line(message: str) -> None:
    sys.stderr.write(message.encode(errors="backslashreplace").decode() + "\n")
    sys.stderr.flush()
