"""Save what was written but cannot have its place: beside that, or in the folder for temporary files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST = 100  # names that are tried beside the one that is taken
_PIECE = 1 << 20  # bytes


@dataclass(frozen=True)
class OpenFile:
    """The bytes of an open file, which may have no name any more."""

    descriptor: int

    def __iter__(self) -> Iterator[bytes]:
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        while piece := os.read(self.descriptor, _PIECE):
            yield piece


def saved_elsewhere(content: Iterable[bytes], path: str) -> str:
    """Write content to another place, and return a sentence that says where; the content is read once for each try."""
    for copy, place in _places(Path(path)):
        try:
            with open(copy, "wb") as file:
                file.writelines(content)
                file.flush()
                os.fsync(copy)
        except OSError:
            with suppress(OSError):
                os.unlink(place)
            continue
        return f"It is in {place} now."
    return "It could not be saved anywhere else."


def _places(path: Path) -> Iterator[tuple[int, str]]:
    """Open a new file beside the path, then one in the folder for temporary files."""
    for number in range(2, MOST):
        place = path.absolute().with_name(f"{path.stem}-{number}{path.suffix}")
        try:
            yield os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), str(place)
            break
        except FileExistsError:
            continue
        except OSError:
            break
    with suppress(OSError):
        yield tempfile.mkstemp(path.suffix, f"{path.stem[:40]}-")
