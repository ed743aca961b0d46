"""Read JSON that somebody else wrote: whatever is wrong with it is a `ValueError`.

Python's own reader raises `RecursionError` for deep nesting, and numbers of hundreds of digits break arithmetic later.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

MOST_DIGITS = 40  # of a whole number; tokenizers write 10^30 for "no limit"


def read_json(text: str | bytes, object_pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return the document's value; with `object_pairs`, objects are made of their pairs by it."""
    try:
        return json.loads(text, parse_int=_whole_number, object_pairs_hook=object_pairs)
    except RecursionError as problem:
        raise ValueError("nested too deeply") from problem


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)
