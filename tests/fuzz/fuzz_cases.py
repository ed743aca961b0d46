"""What every kind of fuzzed input has in common: a generator of cases, and a run that must end well.

A kind is a file `test_*.py` here with two functions: one makes the case of a number, from a seeded `random.Random`, and
one runs it. `check` runs a case: the result, or an error in three parts, within the time; never a crash, never a hang.
Cases are named by kind and number, so that a failure can be repeated alone: `-k` and the test's name.
"""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from bigain_cli.errors import BigainError

LONGEST = 60  # seconds that a case may take, on a busy machine
DEEP = "[" * 100_000
LONG = "9" * 5_000
NO_NUMBERS = (float("nan"), float("inf"), -float("inf"))
NUMBERS = (0, 1, -1, 2, 3, 7, 8, 64, 1000, 2**31, -(2**63), 2**64, 10**30, 0.0, -1.5, 0.5, 1e-300, 1e300, *NO_NUMBERS)
TEXTS = ("", " ", "a", "none", "epsilon", "../../x", "/etc/passwd", "\0", "\ud800", "x" * 3000, "é", "{}", "{0}", "1")
TREES = ([], [0], [1, 2, 3], [[]], ["a"], [None], [1] * 3000, {}, {"a": 1}, {"": {}})
WILD = (None, True, False, *NUMBERS, *TEXTS, *TREES)


class Hang(BaseException):
    """A case took too long."""


def generator(kind: str, number: int) -> random.Random:
    """Return the random numbers of a case; they do not depend on other cases."""
    return random.Random(f"{kind} {number}")


def check(run: Callable[[], object]) -> str:
    """Run a case; return how it ended. Anything but a result or a `BigainError` is raised."""
    with time_limit():
        try:
            run()
        except BigainError as problem:
            assert problem.why and problem.what and "\n" not in problem.why, repr(problem)
            return "refused"
    return "accepted"


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise `Hang` if the block takes too long."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {LONGEST} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def wild_value(dice: random.Random) -> Any:
    """Return a JSON value of any type and size."""
    return dice.choice(WILD)


def wild_json(dice: random.Random, document: Any) -> str:
    """Return a JSON document with one to three changes, or a text that is no JSON at all."""
    if dice.random() < 0.1:
        return dice.choice(["", "{", "null", "[]", "3", '"a"', DEEP, '{"a":' * 100_000, LONG, "{}", "\ufeff{}", "\0"])
    document = json.loads(json.dumps(document))
    for _ in range(dice.randint(1, 3)):
        document = _changed(dice, document)
    return json.dumps(document)


def wild_bytes(dice: random.Random, data: bytes) -> bytes:
    """Return a file with changed, missing, repeated or added bytes."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        start = dice.randrange(len(changed) + 1)
        end = min(len(changed), start + dice.choice([1, 1, 2, 4, 16, 200, len(changed) // 3]))
        match dice.randrange(5):
            case 0:
                changed[start:end] = dice.randbytes(end - start)
            case 1:
                del changed[start:end]
            case 2:
                changed[start:start] = changed[start:end]
            case 3:
                changed[start:end] = bytes([dice.choice([0, 1, 127, 128, 255])]) * (end - start)
            case 4:
                del changed[start:]
    return bytes(changed)


def _changed(dice: random.Random, value: Any) -> Any:
    """Return a value with a change somewhere inside."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key = dice.choice(sorted(value))
        kind = dice.random()
        if kind < 0.15:
            return {other: entry for other, entry in value.items() if other != key}
        if kind < 0.25:
            return {**value, dice.choice(["", "a", "_class_name", "quantization_config", "auto_map"]): wild_value(dice)}
        return {**value, key: _changed(dice, value[key])}
    if isinstance(value, list) and value and dice.random() < 0.7:
        place = dice.randrange(len(value))
        return [*value[:place], _changed(dice, value[place]), *value[place + 1 :]][
            : dice.choice([1, 2, len(value), len(value)])
        ]
    if isinstance(value, int) and not isinstance(value, bool) and dice.random() < 0.3:
        return value + dice.choice([-1, 1, value, -value, 10**6])
    return wild_value(dice)
