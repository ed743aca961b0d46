"""The order of an evaluation: some images under each spec in turn, then the next images.

So a slow phase of the machine affects all specs alike. In: images; out: groups of them. Must not import torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

IMAGES = 16  # before the next spec's turn

Item = TypeVar("Item")


def turns(items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
    """Yield the items in groups, each for one turn of every spec."""
    rest = iter(items)
    while group := tuple(itertools.islice(rest, IMAGES)):
        yield group
