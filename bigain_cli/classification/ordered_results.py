"""Results in the order of their images, though later images may finish first.

In: results by their place; out: those with nothing missing before them. Must not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator

from bigain_cli.classification.ranking import Failure, Ranking


class OrderedResults:
    """Holds each result back until all results before it have been returned."""

    def __init__(self) -> None:
        self._reserved = self._returned = 0
        self._waiting: dict[int, Ranking | Failure] = {}

    def reserve(self) -> int:
        """Reserve the next index."""
        self._reserved += 1
        return self._reserved - 1

    def add(self, index: int, result: Ranking | Failure) -> None:
        """Add the result of a reserved index."""
        self._waiting[index] = result

    def ready(self) -> Iterator[Ranking | Failure]:
        """Yield every result with nothing missing before it."""
        while self._returned in self._waiting:
            self._returned += 1
            yield self._waiting.pop(self._returned - 1)
