"""Notes and errors on stderr, while records go elsewhere.

Never touches stdout, so that data is the same bytes whether or not anybody is watching.
"""

from __future__ import annotations

import sys
import warnings
from typing import TextIO


class Messages:
    """Notes on stderr; `quiet` keeps errors only, `verbose` adds how things were understood."""

    def __init__(self, quiet: bool, verbose: bool) -> None:
        self.quiet, self.verbose = quiet, verbose

    @staticmethod
    def start(quiet: bool, verbose: bool = False) -> Messages:
        """Return one that takes Python's warnings, too."""
        messages = Messages(quiet, verbose)
        warnings.showwarning = messages.warn
        return messages

    def note(self, message: str) -> None:
        """Say something the user should know."""
        if not self.quiet:
            write_line(f"bigain: {message}")

    def error(self, message: str) -> None:
        """Say what went wrong, however quiet."""
        write_line(f"bigain: {message}")

    def recorded(self, path: str, count: str, failures: int, others: str = "") -> None:
        """Say what a file of records holds already."""
        failed = f", {failures} of them failures (remove their lines to try again)" if failures else ""
        self.note(f"{path}: {count} already recorded{failed}{others}")

    def detail(self, message: str) -> None:
        """Say how something was understood, if the run is verbose."""
        if self.verbose and not self.quiet:
            write_line(f"bigain: {message}")

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


def write_line(message: str) -> None:
    """Write a line at once, whatever letters this terminal lacks."""
    sys.stderr.write(message.encode(errors="backslashreplace").decode() + "\n")
    sys.stderr.flush()
