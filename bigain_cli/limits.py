"""The largest numbers and texts that may be asked for: what is larger is a slip, or would take all the memory there is.

Every whole number of the command line, of settings in an image and of the library's options is checked here, before
anything is allocated for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from bigain_cli.errors import UsageError

MOST: Mapping[str, int] = {
    "batch": 4_096,
    "budget": 10**12,  # network evaluations per image
    "count": 100_000,  # images of each prompt
    "depth": 64,
    "draws": 1_000_000,
    "generate": 1_000_000,
    "images": 10**12,  # that a training takes, with repeats
    "labels": 10_000,  # of a benchmark
    "rounds": 100_000,
    "seed": 2**64 - 1,
    "size": 8_192,  # pixels along a side
    "steps": 10_000,
    "threads": 1_024,
    "top": 100_000,
    "width": 2_048,
}
OTHERS = 10**12  # the most of what is not in the table
OPTIONS = {"count": "-n"}  # where an option is not called as its number is
MOST_PIXELS = 1 << 28  # of a batch of a training
MOST_IMAGES = 1_000_000  # of one run of `generate`
MOST_TEXT = 64 << 20  # bytes of a file of labels, prompts or settings
MOST_LINE = 64 << 20  # bytes of a record
MOST_HEADER = 100_000_000  # bytes; the limit of safetensors itself
_UNREADABLE = re.compile("[\0\ud800-\udfff]")


def check_counts(**counts: Any) -> None:
    """Refuse whole numbers beyond what makes sense; what is no whole number is left to others."""
    for name, value in counts.items():
        if is_whole(value) and abs(value) > (most := MOST.get(name, OTHERS)):
            option = OPTIONS.get(name, f"--{name.replace('_', '-')}")
            raise UsageError(f"{option} {shown(value)}", f"out of range: at most {most:,} is possible", "Ask for less.")


def check_confidence(value: float) -> None:
    """Refuse what is no probability of being right, or one that a guess has."""
    if not (math.isfinite(value) and 0.5 <= value < 1):
        why = "not a probability from 0.5 up to, but not including, 1"
        raise UsageError(f"--confidence {value:g}", why, "0.95 is usual.")


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether this is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Return whether this is a finite number within a range; true and false are none."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and math.isfinite(value) and low <= value <= high


def is_readable(text: str) -> bool:
    """Return whether a name or a prompt says anything: it is not blank, and has no NUL and no half of a letter."""
    return bool(text.strip()) and not _UNREADABLE.search(text)


def shown(value: int) -> str:
    """Write a whole number as it is, or how long it is."""
    digits = int(value.bit_length() * 0.30103) + 1  # str() refuses numbers of thousands of digits
    return str(value) if digits <= 20 else f"of about {digits} digits"


def read_text_file(path: str, name: str) -> bytes:
    """Read a file to its end; refuse one that is too long for a text of names or settings."""
    with Path(path).open("rb") as file:
        return read_text_bytes(file, name)


def read_text_bytes(stream: BinaryIO, name: str) -> bytes:
    """Do the same with a stream."""
    data = bytearray()
    while piece := stream.read(min(MOST_TEXT + 1 - len(data), 1 << 20)):
        data += piece
        if len(data) > MOST_TEXT:
            raise UsageError(name, f"more than {MOST_TEXT >> 20} MiB, too long for a text", "Give a shorter one.")
    return bytes(data)
