"""Counts a run's images in a thread while the first ones are classified. Knows no tensors, reads no image."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack

from bigain_cli.cli.classify_request import ClassifyRequest
from bigain_cli.errors import BigainError


class InputCount:
    """How many images a run has in all, without those already done; None until that is known."""

    def __init__(self, request: ClassifyRequest, done: Collection[str]) -> None:
        self.total: int | None = None
        self._request, self._done, self._stopped = request, done, threading.Event()

    @property
    def is_countable(self) -> bool:
        """Whether the inputs can be listed twice: paths from stdin or from a pipe cannot."""
        source = self._request.files_from
        return source is None or os.path.isfile(source)

    def __enter__(self) -> InputCount:
        if self.is_countable:
            threading.Thread(target=self._count, daemon=True, name="bigain-count").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def _count(self) -> None:
        total = 0
        try:
            with ExitStack() as open_files:
                for source in self._sources(open_files):
                    if self._stopped.is_set():
                        return
                    total += source not in self._done
        except (BigainError, OSError):  # the run meets it, too, and says so
            return
        self.total = total

    def _sources(self, open_files: ExitStack) -> Iterator[str]:
        return (source.id for source in self._request.sources(open_files, only_names=True))
