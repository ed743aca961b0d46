"""Steps done and time left: a bar on a terminal, a line now and then elsewhere; on stderr either way."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bigain_cli.cli.standings import clock
from bigain_cli.cli.talk import Talk

PAUSE = 10.0  # seconds between lines where nobody watches


def bar_of(talk: Talk, before: str, after: str) -> Any:
    """Start a bar between two texts about its task on stderr, or return nothing if nobody watches."""
    if not sys.stderr.isatty() or talk.quiet:
        return None
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn(before), BarColumn(), TextColumn(after))
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    bar.start()
    return bar


class StepMeter:
    """Follows a run whose steps take about equally long; an earlier run took `before` of them."""

    def __init__(self, talk: Talk, doing: str = "drawing", unit: str = "steps", before: float = 0) -> None:
        self._talk, self._doing, self._unit, self._before = talk, doing, unit, before
        self._bar: Any = None
        self._task: Any = None
        self._began = self._said = time.monotonic()

    def __enter__(self) -> StepMeter:
        self._bar = bar_of(
            self._talk,
            f"{{task.description}} {{task.completed:.0f}}/{{task.total:.0f}} {self._unit}",
            "{task.fields[left]} left",
        )
        if self._bar is not None:
            self._task = self._bar.add_task(self._doing, total=1, left="-:--")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: float, of: int, note: str = "") -> None:
        """Take a step into account; the note stands before the time left."""
        now = time.monotonic()
        pace = (done - self._before) / max(now - self._began, 1e-9)
        left = ", ".join(filter(None, (note, clock((of - done) / pace) if pace > 0 else "-:--")))
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=of, left=left)
        elif now - self._said > PAUSE:
            self._said = now
            self._talk.note(f"{done:.0f}/{of} {self._unit}, {left} left")

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the terminal to a line of data, if that goes there too."""
        if self._bar is None or not sys.stdout.isatty():
            yield
            return
        self._bar.stop()
        yield
        self._bar.start()
