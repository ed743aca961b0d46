"""Checks of one record of a .jsonl file, which anybody may have written or edited: what is wrong with it, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bigain_cli.limits import is_number, is_whole

Check = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    """Return whether this is a text."""
    return isinstance(value, str)


def is_count(value: Any) -> bool:
    """Return whether this is a whole number from 0 up, of at most eighteen digits."""
    return is_whole(value) and 0 <= value < 10**18


def is_probability(value: Any) -> bool:
    """Return whether this is a number from 0 to 1."""
    return is_number(value, 0, 1)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


def _is_interval(value: Any) -> bool:
    return value is None or (isinstance(value, list) and len(value) == 2 and all(map(is_number, value)))


def _is_ranked(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_entry, value))


def _is_entry(value: Any) -> bool:
    if not isinstance(value, dict) or not is_text(value.get("label")) or not is_probability(value.get("probability")):
        return False
    return value.get("score") is None or is_number(value["score"])


def _is_evidence(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(map(is_number, value.values()))


def _is_error(value: Any) -> bool:
    return isinstance(value, dict) and all(is_text(value.get(name)) for name in ("kind", "message"))


# What a field must be wherever it stands; fields that are not listed are not read.
FIELDS: Mapping[str, tuple[Check, str]] = {
    "id": (is_text, "a text"),
    "settings": (lambda value: value is None or isinstance(value, dict), "a table"),
    "error": (_is_error, "a table with kind and message"),
    "label": (is_text, "a text"),
    "answer": (is_text, "a text"),
    "truth": (_is_texts, "a list of texts"),
    "probability": (is_probability, "a number from 0 to 1"),
    "truth_probability": (is_probability, "a number from 0 to 1"),
    "brier": (lambda value: is_number(value, -1e-6, 2 + 1e-6), "a number from 0 to 2"),
    **dict.fromkeys(("settled", "decided"), (lambda value: isinstance(value, bool), "true or false")),
    "runner_up": (lambda value: value is None or is_text(value), "a text"),
    "gap": (lambda value: value is None or is_number(value), "a number"),
    "gap_interval": (_is_interval, "two numbers"),
    "top": (_is_ranked, "a list of labels with their probabilities"),
    "evidence": (_is_evidence, "a table of numbers"),
    **dict.fromkeys(("draws", "evaluations", "rank"), (is_count, "a whole number from 0 up")),
    **dict.fromkeys(("seconds", "gflop"), (lambda value: is_number(value, 0), "a number from 0 up")),
}


def problem_of(record: Mapping[str, Any], needed: tuple[str, ...] = ()) -> str:
    """Return the first thing that is wrong with a record, or nothing; a record of a failure needs only its error."""
    for name, (holds, expected) in FIELDS.items():
        if name in record and not holds(record[name]):
            return f"its {name} is not {expected}"
    missing = [name for name in needed if name not in record and "error" not in record]
    return f"it has no {missing[0]}" if missing else ""


def fingerprint_of(record: Mapping[str, Any]) -> str:
    """Return what identifies the settings of a record; nothing if it does not say."""
    found = (record.get("settings") or {}).get("fingerprint")
    return found if isinstance(found, str) else ""
