"""Which piece of which shard comes next, and what becomes of a shard whose worker dies again and again.

After three deaths a worker gets half of what is left of the shard; an image that kills its worker three times while it
is alone gets a record that says so. Must not know what workers are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from bigain_cli.errors import BigainError
from bigain_cli.shards.manifest import Shard
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_status import lines_of_journal
from bigain_cli.shards.shard_work import Piece

DEATHS = 3  # on the same piece, until it is halved, or its one image given up
IN_A_ROW = 3  # images given up without any other result between them, until the run is stopped
STARTS = 3  # workers in a row that die before they have begun, until the run is stopped
MEMORY = "Is there enough memory for so many workers?"


@dataclass
class _Trouble:
    """What is known of a shard whose worker has died."""

    deaths: int = 0
    most: int | None = None


class Assignments:
    """The pieces of a run: those to be done again come first, then new shards, those that are done left out."""

    def __init__(self, folder: RunFolder, shards: Iterator[Shard]) -> None:
        self._folder = folder
        self._new = (Piece(shard) for shard in shards if not folder.is_done(shard))
        self._again = deque[Piece]()
        self._troubles: dict[int, _Trouble] = {}
        self._given_up = self._failed_starts = 0

    def next(self) -> Piece | None:
        """Return the next piece, or None if there is none at the moment."""
        return self._again.popleft() if self._again else next(self._new, None)

    def give_back(self, piece: Piece) -> None:
        """Take a piece back that nobody has begun."""
        self._again.appendleft(piece)

    def ended(self, piece: Piece) -> None:
        """Take note that a piece is done; the rest of its shard is the next piece."""
        self._given_up = self._given_up if piece.give_up else 0
        if self._folder.is_done(piece.shard):
            self._troubles.pop(piece.shard.number, None)
            return
        trouble = self._troubles.setdefault(piece.shard.number, _Trouble())
        trouble.deaths, trouble.most = 0, None if piece.give_up else trouble.most
        self._again.appendleft(Piece(piece.shard, trouble.most))

    def died(self, piece: Piece, deaths: int = 1) -> None:
        """Take note that a worker has died so many times while it had a piece."""
        if self._folder.is_done(piece.shard):  # it was killed just after that
            return
        trouble = self._troubles.setdefault(piece.shard.number, _Trouble())
        trouble.deaths += deaths
        if trouble.deaths < DEATHS:
            self._again.appendleft(piece)
            return
        left = piece.shard.count - lines_of_journal(self._folder, piece.shard.number)
        if (trouble.most or left) > 1:
            trouble.deaths, trouble.most = 0, max(1, min(trouble.most or left, left) // 2)
            self._again.appendleft(Piece(piece.shard, trouble.most))
            return
        self._give_up(piece.shard)

    def _give_up(self, shard: Shard) -> None:
        """Let the next worker write the record of an image that was given up, unless that is not the image's fault."""
        self._given_up += 1
        if self._given_up > IN_A_ROW:
            why = f"workers died on {IN_A_ROW} images in a row, each alone, so it is not the images that kill them"
            raise BigainError(self._folder.name, why, MEMORY)
        self._again.appendleft(Piece(shard, most=0, give_up=True))

    def started(self) -> None:
        """Take note that a worker is ready."""
        self._failed_starts = 0

    def start_failed(self, reason: str) -> None:
        """Take note that a worker has died before it was ready."""
        self._failed_starts += 1
        if self._failed_starts >= STARTS:
            raise BigainError("worker", f"died {STARTS} times while it loaded the model ({reason})", MEMORY)
