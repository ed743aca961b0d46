"""A terminal as an output: names are made safe in every format. Must not know which stream is a terminal."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from bigain_cli.outputs.text import safe_lines


class SafeTerminal(io.BufferedIOBase):
    """A stream of UTF-8 text to a terminal on which control characters but ends of lines and tabs are escaped."""

    def __init__(self, terminal: BinaryIO) -> None:
        self.terminal = terminal  # for what has made names safe itself, and writes colours

    def write(self, data: Any) -> int:
        """Write text."""
        self.terminal.write(safe_lines(bytes(data).decode(errors="backslashreplace")).encode())
        return len(data)

    def flush(self) -> None:
        """Write everything to the terminal."""
        self.terminal.flush()

    def writable(self) -> bool:
        """Return true."""
        return True

    def isatty(self) -> bool:
        """Return true."""
        return True

    def fileno(self) -> int:
        """Return the number of the file."""
        return self.terminal.fileno()


def coloured(stream: BinaryIO) -> BinaryIO:
    """Return the terminal itself, for a format that writes colours and makes names safe."""
    return stream.terminal if isinstance(stream, SafeTerminal) else stream
