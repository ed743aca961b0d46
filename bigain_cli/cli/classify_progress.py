"""The progress of `classify` on stderr: how far the run is, what it will take, and at its end one sentence."""

from __future__ import annotations

import time
from typing import Any

from bigain_cli.classification.ranking import Failure, Ranking
from bigain_cli.cli.input_count import InputCount
from bigain_cli.cli.messages import Messages, write_line
from bigain_cli.cli.progress import LONG, MEASURED, PAUSE, Display, progress_bar
from bigain_cli.outputs.live_table import most_evaluations_left, plain, table
from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.outputs.text import clock, counted, spoken_rate, spoken_time

WATCH_PAUSE = 1.0  # seconds between an image's lines with --watch where there is no terminal
FIRST_LOOK = 5.0  # seconds after which a run is judged by its evaluations, if no image is done yet


class ClassifyProgress(Display):
    """Shows images done of all, speed, how they came out, and the time left; with `watch` also the one in progress."""

    def __init__(self, messages: Messages, watch: bool, count: InputCount, most: int, machine: str) -> None:
        super().__init__(messages)
        self._watch = watch and not messages.quiet
        self._count, self._most, self._machine = count, most, machine  # `most` evaluations an image
        self.counts = RunCounts()
        self._evaluations = 0
        self._in_progress: dict[str, tuple[int, int]] = {}  # draws and evaluations
        self._left: dict[str, int] = {}  # most evaluations that images in progress still need
        self._line_times: dict[str, float] = {}  # when an image in progress last had a line
        self._noted, self._is_announced = self.began, False
        self._first: tuple[float, int] | None = None  # when the first draws were done, and their evaluations
        self._done_evaluations = 0  # of the finished images

    def show(self, outcome: Ranking | Failure) -> None:
        """Show a result, or the ranking so far of an image in progress."""
        if isinstance(outcome, Ranking):
            before = self._in_progress.pop(outcome.id, (0, 0))
            self._evaluations += outcome.evaluations - before[1]
            self._left.pop(outcome.id, None)
            if not outcome.finished:
                self._in_progress[outcome.id] = (outcome.draws, outcome.evaluations)
                self._left[outcome.id] = most_evaluations_left(outcome, before)
            else:
                self._done_evaluations += outcome.evaluations
        if outcome.finished:
            self.counts.add(outcome)
        self._announce()
        if self.on_terminal:
            if self.due(urgent=outcome.finished):
                self.update(self._render(outcome))
        elif self._watch:
            if isinstance(outcome, Ranking) and self._line_due(outcome):
                write_line(plain(outcome, self._pace()))
        elif time.monotonic() - self._noted > PAUSE:
            self._noted = time.monotonic()
            self.messages.note(", ".join(filter(None, (self._done(), *self._rates(), self._time_left()))))

    def _announce(self) -> None:
        """Say once what the run will take, if it is long; its start, and waiting for an image, are left out."""
        total, done, now = self._count.total, self.counts.settled + self.counts.open, time.monotonic()
        began, before = self._first = self._first or (now, self._evaluations)
        seconds, evaluations = now - began, self._evaluations - before
        if self._is_announced or total is None or not evaluations or seconds < (MEASURED if done else FIRST_LOOK):
            return
        each = self._done_evaluations / done if done else self._most
        expected = total * each * seconds / evaluations
        if expected > LONG:
            self._is_announced = True
            bound = "about" if done else "at most"
            images = f"{counted(total, 'image')} × at most {counted(self._most, 'evaluation')}"
            self.messages.note(f"{images} on {self._machine}, {bound} {spoken_time(expected)}")

    def _line_due(self, outcome: Ranking) -> bool:
        """Return whether to write a line: one per result, and one a second before it."""
        if outcome.finished:
            self._line_times.pop(outcome.id, None)
            return True
        now = time.monotonic()
        if now - self._line_times.setdefault(outcome.id, now) < WATCH_PAUSE:
            return False
        self._line_times[outcome.id] = now
        return True

    def _render(self, outcome: Ranking | Failure) -> Any:
        from rich.console import Group
        from rich.text import Text

        share = self.counts.images / self._count.total if self._count.total else 0.0
        lines: list[Any] = [Text(self._done())]
        if self._count.total is not None:
            lines = [progress_bar(self._done(), share, self._time_left())]
        lines.append(Text(" · ".join(self._rates()), style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(table(outcome), *lines) if self._watch and isinstance(outcome, Ranking) else Group(*lines)

    def _done(self) -> str:
        if self._count.total is None:
            return f"{counted(self.counts.images, 'image')} so far"
        return f"{self.counts.images}/{counted(self._count.total, 'image')}"

    def _rates(self) -> list[str]:
        """Return how fast the run is, and how its images came out."""
        rates = [f"{spoken_rate(self.counts.images / self.seconds())} images/s"] if self.counts.images else []
        rates.append(f"{self._pace():.{0 if self._pace() >= 10 else 1}f} evaluations/s")
        return [*rates, f"{self.counts.open} open", f"{self.counts.failed} failed"]

    def _time_left(self) -> str:
        """Return how long the rest of the run takes; before the first result at most."""
        total, done = self._count.total, self.counts.images
        if total is not None and done:
            return f"{clock(max(total - done, 0) * self.seconds() / done)} left"
        if not self._left or not self._pace():
            return ""
        waiting = 0 if total is None else max(total - done - len(self._left), 0) * self._most
        others = f" for {len(self._left)} in progress" if total is None and len(self._left) > 1 else ""
        return f"at most {clock((sum(self._left.values()) + waiting) / self._pace())} left{others}"

    def _pace(self) -> float:
        """Return the evaluations per second over all images."""
        return self._evaluations / self.seconds()

    def seconds(self) -> float:
        """Return the time since the run began."""
        return max(time.monotonic() - self.began, 1e-3)
