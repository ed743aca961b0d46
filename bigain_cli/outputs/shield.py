"""Put off signals while something is written that must not be left half done.

The handler of a program asks `SHIELD.puts_off(number)` first; such a signal comes again at the end of the block. Must
not know what is written, nor what a signal means.
"""

from __future__ import annotations

import signal
import threading


class Shield:
    """Blocks of the main thread, which has all signals; they may lie in each other."""

    def __init__(self) -> None:
        self._depth = 0
        self._waiting: int | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth -= 1
            if self._waiting is not None and not self._depth:
                number, self._waiting = self._waiting, None
                signal.raise_signal(number)

    def puts_off(self, number: int) -> bool:
        """Return whether a signal has to wait; of several the first comes again."""
        if self._depth and self._waiting is None:
            self._waiting = number
        return self._depth > 0


SHIELD = Shield()
