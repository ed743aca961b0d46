"""Notes and errors on stderr; only data goes to stdout, made safe where that is a terminal."""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import TextIO

from bigain_cli.outputs.safe_terminal import SafeTerminal
from bigain_cli.outputs.text import safe, safe_lines


class Messages:
    """Writes notes on stderr; `quiet` keeps errors only, `verbose` adds how the options were understood."""

    def __init__(self, quiet: bool, verbose: bool) -> None:
        self.quiet, self.verbose = quiet, verbose

    @staticmethod
    def start(quiet: bool, verbose: bool = False) -> Messages:
        """Return one to which Python's warnings go, too."""
        messages = Messages(quiet, verbose)
        warnings.showwarning = messages.warn
        return messages

    def note(self, message: str) -> None:
        """Write something the user should know, in one line: names may hold ends of lines."""
        if not self.quiet:
            write_line(f"bigain: {safe(message)}")

    def closing(self, sentence: str) -> None:
        """Write what a run has done, as its last words."""
        self.note(sentence)

    def error(self, message: str) -> None:
        """Write what went wrong in one line, even with `quiet`."""
        write_line(f"bigain: {safe(message)}")

    def recorded(self, path: str, count: str, failures: int, others: str = "") -> None:
        """Write how many records a file holds already."""
        failed = f", {failures} of them failures (remove their lines to try again)" if failures else ""
        self.note(f"{path}: {count} already recorded{failed}{others}")

    def detail(self, message: str) -> None:
        """Write how something was understood, with `verbose`."""
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
        """Write a warning; has the signature of `warnings.showwarning`."""
        self.note(f"warning: {message}")


def write_line(message: str) -> None:
    """Write lines to stderr at once; what would move a terminal's cursor, and letters that it lacks, are escaped.

    Nobody may be reading any more: then they go nowhere, and the work goes on.
    """
    try:
        sys.stderr.write(safe_lines(message).encode(errors="backslashreplace").decode() + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        redirect_to_null(2)


def redirect_to_null(stream: int) -> None:
    """Redirect a standard stream, so that no later write meets its closed pipe."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream)
    os.close(null)


def guard_terminal() -> None:
    """Let whatever is printed on a terminal pass through a `SafeTerminal`; what goes elsewhere is UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.isatty():
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if sys.stdout.isatty() and not isinstance(sys.stdout.buffer, SafeTerminal):
        sys.stdout.flush()
        guarded = SafeTerminal(sys.stdout.buffer)
        sys.stdout = io.TextIOWrapper(guarded, encoding="utf-8", errors="backslashreplace", line_buffering=True)
