"""What a worker does: load the model once, then one piece after the other, and say so after each block of work.

It ends when it is told to, even within a piece, and when nobody listens any more.
"""

from __future__ import annotations

import contextlib
import signal
import warnings
from multiprocessing.connection import Connection
from typing import Any

from bigain_cli.engines.job import Job
from bigain_cli.errors import BigainError
from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import join
from bigain_cli.shards.shard_work import Piece, work

READY, STEP, END, NOTE, ERROR, DEATH = "ready", "step", "end", "note", "error", "death"  # kinds of messages


def serve(connection: Connection, job: Job, folder: RunFolder, number: int) -> None:
    """Work until there is nothing more to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the first process tells the others
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
    with contextlib.closing(steps):
        for record in steps:
            counts = RunCounts()
            if record is not None:
                counts.add_record(record)
            connection.send((STEP, counts))
            if connection.poll():
                return False
    return True
