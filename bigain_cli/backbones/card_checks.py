"""Checks of a model card's values, which anybody may have written: a `ValueError` says what is wrong.

Must not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bigain_cli.compress.spec import parse
from bigain_cli.errors import UsageError
from bigain_cli.limits import is_readable, is_whole
from bigain_cli.registry import SCORES
from bigain_cli.views import read_views

MOST = 100_000  # draws, steps, pixels along a side


def check_card(card: Any) -> None:
    """Refuse values of the wrong type and values that mean nothing."""
    low, high = card.times
    sampling = card.sampling
    rules = (
        (0 <= low < high <= 1, "times must rise within 0 … 1"),
        (isinstance(card.score, str) and card.score in SCORES, f"score must be one of {', '.join(SCORES)}"),
        (card.temperature is None or _number(card.temperature, 0), "temperature must be a positive number"),
        (_count(card.patch), "patch must be a whole number from 1 up"),
        (card.draws is None or _count(card.draws), "draws must be a whole number from 1 up"),
        (card.least_draws is None or _count(card.least_draws), "least_draws must be a whole number from 1 up"),
        (sampling.steps is None or _count(sampling.steps), "sampling.steps must be a whole number from 1 up"),
        (sampling.guidance is None or _number(sampling.guidance, -MOST), "sampling.guidance must be a number"),
        (sampling.sampler is None or isinstance(sampling.sampler, str), "sampling.sampler must be a text"),
        (isinstance(card.about, Mapping), "about must be a table"),
        (all(card.classes.values()), "each of the classes must have a name"),
        (all(map(is_readable, _texts(card))), "a name or a template is no plain text"),
        (all("{}" in text for text in card.templates), "each of the templates must have {} for the name"),
    )
    for holds, why in rules:
        if not holds:
            raise ValueError(why)
    for spec in (card.compress, sampling.compress):
        _check_text("compress", spec, parse)
    _check_text("views", card.views, read_views)


def _texts(card: Any) -> Iterator[str]:
    for name, names in card.classes.items():
        yield from (name, *names)
    yield from card.templates


def _check_text(name: str, text: Any, read: Callable[[str], object]) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{name} must be a text")
    try:
        read(text)
    except UsageError as problem:
        raise ValueError(str(problem)) from problem


def _number(value: Any, above: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and above < value < math.inf


def _count(value: Any) -> bool:
    return is_whole(value) and 1 <= value <= MOST
