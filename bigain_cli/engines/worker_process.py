"""What a worker does: load the model once, then one piece after the other, and say so after each block of work.

It ends when it is told to, even within a piece, and when nobody listens any more.
"""

from __future__ import annotations

import contextlib
import signal
import warnings
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from bigain_cli.engines.job import Job
from bigain_cli.errors import BigainError
from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import join
from bigain_cli.shards.shard_work import Piece, work


class _Ending:
    """Ends the process when it is terminated, but lets it finish the block under way: its shard goes on elsewhere."""

    def __init__(self) -> None:
        self.is_working = self.is_asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True
        if not self.is_working:
            raise SystemExit(128 + number)


_ENDING = _Ending()
READY, STEP, END, NOTE, ERROR, DEATH = "ready", "step", "end", "note", "error", "death"  # kinds of messages


def serve(connection: Connection, job: Job, folder: RunFolder, number: int) -> None:
    """Work until there is nothing more to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the first process tells the others
    signal.signal(signal.SIGTERM, _ENDING)
    warnings.showwarning = lambda message, *_, **__: connection.send((NOTE, f"warning: {message}"))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionError):
        try:
            _serve(connection, job, folder, number)
        except BigainError as problem:
            connection.send((ERROR, problem))
        except (EOFError, ConnectionError):
            raise
        except Exception as problem:  # noqa: BLE001 — as good as a death: another process tries again
            connection.send((DEATH, f"{type(problem).__name__}: {problem}"))


def _serve(connection: Connection, job: Job, folder: RunFolder, number: int) -> None:
    maker = job.start(number)
    for warning in join(folder, maker.making).warnings:
        connection.send((NOTE, f"warning: {warning}"))
    connection.send((READY, None))
    while (piece := connection.recv()) is not None:
        if not _done(connection, piece, folder, maker):
            return
        connection.send((END, None))


def _done(connection: Connection, piece: Piece, folder: RunFolder, maker: Any) -> bool:
    """Do a piece; return whether it is done, and was not to be stopped before."""
    steps = work(folder, piece, maker)
    _ENDING.is_working = True
    with contextlib.closing(steps):
        for record in steps:
            counts = RunCounts()
            if record is not None:
                counts.add_record(record)
            connection.send((STEP, counts))
            if _ENDING.is_asked or connection.poll():
                return False
    _ENDING.is_working = False
    return True
