"""Progress of a run on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from bigain_cli.cli.messages import Messages
from bigain_cli.outputs.text import clock, spoken_time

PAUSE = 10.0  # seconds between lines where there is no terminal
REFRESH = 0.1  # seconds between two states on a terminal
LONG = 10.0  # seconds from which on a run says at its start what it will take
MEASURED = 2.0  # seconds after which a run's speed is known well enough for that
BAR = 40  # cells at most


class Display:
    """A few lines at the end of a terminal on stderr, updated in place and erased at the end of the block."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self.on_terminal = sys.stderr.isatty() and not messages.quiet
        self.began = self._refreshed = time.monotonic()
        self._live: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._erase()

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Clear the terminal for a record, if records go there, too."""
        if sys.stdout.isatty():
            self._erase()
        yield

    def due(self, urgent: bool = False) -> bool:
        """Return whether to update: after a pause, or if it is urgent."""
        now = time.monotonic()
        if not urgent and now - self._refreshed < REFRESH:
            return False
        self._refreshed = now
        return True

    def update(self, content: Any) -> None:
        """Replace what is displayed."""
        from rich.console import Console
        from rich.live import Live

        if self._live is None:
            console = Console(stderr=True)
            self._live = Live(console=console, transient=True, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        self._live.update(content, refresh=True)

    def _erase(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class ProgressBar(Display):
    """Shows how many steps of a run are done, `before` of them by an earlier run, and the time left.

    A long run says once, as soon as its speed is measured, how long its `plan` takes.
    """

    def __init__(self, messages: Messages, doing: str, unit: str, before: float = 0, plan: str = "") -> None:
        super().__init__(messages)
        self._doing, self._unit, self._before, self._plan = doing, unit, before, plan
        self._noted = self.began
        self._first: tuple[float, float] | None = None  # when the first steps were done, and how many

    def show(self, done: float, of: float, note: str = "") -> None:
        """Show that so many steps are done, with a note."""
        now = time.monotonic()
        pace = (done - self._before) / max(now - self.began, 1e-9)
        left = f"{clock((of - done) / pace) if pace > 0 else '-:--'} left"
        count = f"{done:.0f}/{of:.0f} {self._unit}"
        self._announce(done, of, now)
        if self.on_terminal:
            if self.due(urgent=done >= of):
                share = done / of if of else 1.0
                self.update(progress_bar(f"{self._doing} {count}", share, ", ".join(filter(None, (left, note)))))
        elif now - self._noted > PAUSE:
            self._noted = now
            self.messages.note(", ".join(filter(None, (count, note, left))))

    def _announce(self, done: float, of: float, now: float) -> None:
        """Say once what the run will take, if it is long; its start, when everything is slower, says little."""
        began, before = self._first = self._first or (now, done)
        if not self._plan or done <= before or now - began <= MEASURED:
            return
        expected = began - self.began + (of - before) * (now - began) / (done - before)
        if expected > LONG:
            self.messages.note(f"{self._plan}, about {spoken_time(expected)}")
        self._plan = ""


def progress_bar(before: str, share: float, after: str) -> Any:
    """Return a line for a terminal: a bar between two texts, cut at the end if it is too long."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, min_width=len(before))
    grid.add_column(max_width=BAR)
    grid.add_column(no_wrap=True)
    grid.add_row(Text(before), ProgressBar(total=1.0, completed=share), Text(after))
    return grid
