"""The signals that end a run: each becomes an exception, which is raised where the run is, or after what waits.

A hangup that is ignored from the start (`nohup`) stays ignored.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
import weakref
from types import FrameType

from bigain_cli.outputs.shield import SHIELD

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
LOST = 0.1  # seconds after which an exception that was lost is raised again
SAME = 2.0  # seconds in which another signal asks for nothing that is not being done already


class EndingSignal(KeyboardInterrupt):
    """A signal asks the process to end."""

    def __init__(self, number: int) -> None:
        self.word, self.code = WORDS[signal.Signals(number).name], 128 + number


class _Handler:
    """Raises the exception, and raises it again if it is lost before `obeyed`.

    Python drops what is raised inside a destructor, and a library in C may drop what is raised inside a callback. An
    exception in a cycle of references is seen to be lost when the cycle is collected.
    """

    def __init__(self) -> None:
        self._raised = -SAME
        self._latest: weakref.ref[EndingSignal] | None = None
        self._number = signal.SIGINT
        self._terminals = {number for number in (1, 2) if os.isatty(number)}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._raised < SAME or SHIELD.puts_off(number):
            return
        self._raised = time.monotonic()
        for terminal in self._terminals:
            if not os.isatty(terminal):  # it is closed, and what is written to it would be an error
                os.dup2(os.open(os.devnull, os.O_WRONLY), terminal)
        raise self._watched(number)

    def recent(self) -> tuple[int, EndingSignal | None] | None:
        """Return the number of a signal of a moment ago, and its exception unless that is lost."""
        if time.monotonic() - self._raised >= SAME:
            return None
        return self._number, self._latest() if self._latest is not None else None

    def obeyed(self) -> None:
        """Let the exception go: the run is at its end."""
        self._latest = None

    def _watched(self, number: int) -> EndingSignal:
        """Return an exception to which nothing here refers: a frame that held it would keep it alive."""
        end = EndingSignal(number)
        self._number, self._latest = signal.Signals(number), weakref.ref(end, self._lost)
        return end

    def _lost(self, reference: weakref.ref[EndingSignal]) -> None:
        """Wait for another place to raise in: the one it was lost in would lose it again."""
        timer = threading.Timer(LOST, self._raise_again, (reference,))
        timer.daemon = True
        timer.start()

    def _raise_again(self, reference: weakref.ref[EndingSignal]) -> None:
        if self._latest is reference and self in _handlers():
            self._raised = -SAME
            _send_to_main_thread(self._number)


def _send_to_main_thread(number: signal.Signals) -> None:
    """Send a signal so that a main thread that waits for something wakes up, where the system can."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(int(threading.main_thread().ident or 0), number)
    else:
        _thread.interrupt_main(number)


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
    recent = next((handler.recent() for handler in _handlers()), None)
    if recent is None:
        return None
    number, end = recent
    chain: list[BaseException] = [problem]
    while (before := chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    return None if end is not None and end in chain else end or EndingSignal(number)


def settle_signals() -> None:
    """Let no signal come again that has been raised: the run is at its end."""
    for handler in _handlers():
        handler.obeyed()


def _handlers() -> list[_Handler]:
    return [found for number in _known() if isinstance(found := signal.getsignal(number), _Handler)]


def _known() -> list[signal.Signals]:
    return [signal.Signals[name] for name in WORDS if name in signal.Signals.__members__]
