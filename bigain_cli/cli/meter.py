"""Steps done and time left: a bar on a terminal, a line now and then elsewhere; on stderr either way."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bigain_cli.cli.talk import Talk

PAUSE = 10.0  # seconds between lines where nobody watches


class StepMeter:
    """Follows a run whose steps take about equally long."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._bar: Any = None
        self._task: Any = None
        self._began = self._said = time.monotonic()

    def __enter__(self) -> StepMeter:
        if sys.stderr.isatty() and not self._talk.quiet:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            words = TextColumn("{task.description} {task.completed:.0f}/{task.total:.0f} steps")
            left = (BarColumn(), TimeRemainingColumn(), TextColumn("left"))
            self._bar = Progress(words, *left, console=Console(stderr=True), transient=True, redirect_stdout=False)
            self._task = self._bar.add_task("drawing", total=1)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, of: int) -> None:
        """Take a step into account."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=of)
        elif now - self._said > PAUSE:
            self._said = now
            left = (now - self._began) / done * (of - done)
            self._talk.note(f"{done}/{of} steps, {int(left // 60)}:{int(left % 60):02} left")

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the terminal to a line of data, if that goes there too."""
        if self._bar is None or not sys.stdout.isatty():
            yield
            return
        self._bar.stop()
        yield
        self._bar.start()
