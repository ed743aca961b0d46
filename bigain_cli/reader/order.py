"""Return results in the order in which their images came, whenever they are finished."""

from __future__ import annotations

from collections.abc import Iterator

from bigain_cli.classification.ranking import Failure, Ranking


class InOrder:
    """Holds a result back until all results before it have been returned."""

    def __init__(self) -> None:
        self._taken = self._given = 0
        self._held: dict[int, Ranking | Failure] = {}

    def take(self) -> int:
        """Reserve the next place."""
        self._taken += 1
        return self._taken - 1

    def add(self, place: int, result: Ranking | Failure) -> None:
        """Put a result in its place."""
        self._held[place] = result

    def ready(self) -> Iterator[Ranking | Failure]:
        """Yield every result with nothing missing before it."""
        while self._given in self._held:
            self._given += 1
            yield self._held.pop(self._given - 1)
