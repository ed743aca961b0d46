"""The signals that end a run: each becomes an exception, which is raised where the run is, or after what waits.

A hangup that is ignored from the start (`nohup`) stays ignored.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

from bigain_cli.outputs.shield import SHIELD

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
SAME = 2.0  # seconds in which another signal asks for nothing that is not being done already


class EndingSignal(KeyboardInterrupt):
    """A signal asks the process to end."""

    def __init__(self, number: int) -> None:
        self.word, self.code = WORDS[signal.Signals(number).name], 128 + number


class _Handler:
    """Raises the exception."""

    def __init__(self) -> None:
        self._raised = -SAME
        self._latest: EndingSignal | None = None
        self._terminals = {number for number in (1, 2) if os.isatty(number)}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._raised < SAME or SHIELD.puts_off(number):
            return
        self._raised = time.monotonic()
        for terminal in self._terminals:
            if not os.isatty(terminal):  # it is closed, and what is written to it would be an error
                os.dup2(os.open(os.devnull, os.O_WRONLY), terminal)
        self._latest = EndingSignal(number)
        raise self._latest

    def recent(self) -> EndingSignal | None:
        """Return what was raised a moment ago."""
        return self._latest if time.monotonic() - self._raised < SAME else None


def catch_signals() -> None:
    """Raise an `EndingSignal` for each, from now on."""
    handler = _Handler()
    for number in _known():
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def release_signals() -> None:
    """Let signals end the process at once: all is written."""
    for number in _known():
        if isinstance(signal.getsignal(number), _Handler):
            signal.signal(number, signal.SIG_DFL)


def signal_behind(problem: BaseException) -> EndingSignal | None:
    """Return the signal of a moment ago that became this error.

    A library in C may put an error of its own in the place of an exception that a signal raised inside it: torch does,
    in the middle of reading a tensor. An error whose chain holds the signal is real, raised on the way to the end.
    """
    handlers = (signal.getsignal(number) for number in _known())
    recent = next((handler.recent() for handler in handlers if isinstance(handler, _Handler)), None)
    if recent is None:
        return None
    chain: list[BaseException] = [problem]
    while (before := chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    return None if recent in chain else recent


def _known() -> list[signal.Signals]:
    return [signal.Signals[name] for name in WORDS if name in signal.Signals.__members__]
