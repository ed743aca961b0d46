"""The engine of one machine: plain processes, each with a model of its own; one that dies is replaced.

Must not know what records are.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from bigain_cli.engines.assignments import Assignments
from bigain_cli.engines.job import Job, Report
from bigain_cli.engines.worker_process import DEATH, END, ERROR, NOTE, READY, STEP, serve
from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.shards.manifest import Shard
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.shard_work import Piece

PATIENCE = 20.0  # seconds that a worker may take for the block under way when it is told to stop
MOST_NOTES = 10  # on deaths


@dataclass
class _Worker:
    """A process, and what it is doing."""

    number: int
    process: Any
    connection: Connection
    is_ready: bool = False
    piece: Piece | None = None


def run_in_processes(
    job: Job, folder: RunFolder, shards: Iterator[Shard], workers: int
) -> Generator[Report, None, None]:
    """Do all shards; yield what has come out as it does. Stopped, it waits for the blocks under way."""
    pool = _Pool(job, folder, Assignments(folder, shards))
    try:
        yield from pool.run(workers)
    finally:
        pool.stop()


class _Pool:
    """The workers."""

    def __init__(self, job: Job, folder: RunFolder, assignments: Assignments) -> None:
        self._job, self._folder, self._assignments = job, folder, assignments
        self._workers: dict[Connection, _Worker] = {}
        self._notes: set[str] = set()

    def run(self, workers: int) -> Generator[Report, None, None]:
        """Work until nothing is left."""
        waiting = self._assignments.next()
        for number in range(workers):
            if waiting is None:
                break
            self._start(number, waiting)
            waiting = self._assignments.next()
        if waiting is not None:
            self._assignments.give_back(waiting)
        while self._workers:
            for connection in wait(list(self._workers)):
                assert isinstance(connection, Connection)
                yield from self._hear(self._workers[connection])

    def _start(self, number: int, piece: Piece | None) -> None:
        """Start a worker, with what it is to do first."""
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, self._job, self._folder, number), daemon=True)
        process.start()
        there.close()
        self._workers[here] = _Worker(number, process, here, piece=piece)

    def _hear(self, worker: _Worker) -> Iterator[Report]:
        """Take one message of a worker, or note its death."""
        try:
            kind, content = worker.connection.recv()
        except (EOFError, ConnectionError):
            yield from self._replace(worker, "")
            return
        if kind == READY:
            worker.is_ready = True
            self._assignments.started()
            yield RunCounts()
            self._give(worker, worker.piece)
        elif kind == STEP:
            yield content
        elif kind == END:
            assert worker.piece is not None
            self._assignments.ended(worker.piece)
            self._give(worker, self._assignments.next())
        elif kind == NOTE:
            yield from self._note(content)
        elif kind == DEATH:
            yield from self._replace(worker, content)
        elif kind == ERROR:
            raise content

    def _give(self, worker: _Worker, piece: Piece | None) -> None:
        """Give a worker its next piece, or let it end if there is nothing more to do."""
        worker.piece = piece
        try:
            worker.connection.send(piece)
        except (BrokenPipeError, ConnectionError):  # it has died; its end of the pipe says so, too
            return
        if piece is None:
            self._end(worker)

    def _end(self, worker: _Worker) -> None:
        del self._workers[worker.connection]
        worker.process.join()
        worker.connection.close()

    def _replace(self, worker: _Worker, reason: str) -> Iterator[Report]:
        """Start another worker in the place of one that has died."""
        self._end(worker)
        code = worker.process.exitcode
        reason = reason or (f"killed by signal {-code}" if code and code < 0 else f"exit code {code}")
        if worker.piece is not None and worker.is_ready:
            self._assignments.died(worker.piece)
            number = worker.piece.shard.number
            yield from self._note(f"a worker died ({reason}) on shard {number}; another one continues", MOST_NOTES)
        else:
            if worker.piece is not None:
                self._assignments.give_back(worker.piece)
            self._assignments.start_failed(reason)
        piece = self._assignments.next()
        if piece is not None:
            self._start(worker.number, piece)

    def _note(self, text: str, most: int | None = None) -> Iterator[Report]:
        """Yield a note that was not yielded before."""
        if text not in self._notes and (most is None or len(self._notes) < most):
            self._notes.add(text)
            yield text

    def stop(self) -> None:
        """Let every worker finish the block under way and end."""
        workers = list(self._workers.values())
        for worker in workers:
            if worker.is_ready:
                self._give_nothing(worker)
            else:
                worker.process.kill()
        until = time.monotonic() + PATIENCE
        try:
            for worker in workers:
                while worker.process.is_alive() and time.monotonic() < until:
                    _drain(worker.connection)
                    worker.process.join(0.01)
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.join()
            self._workers.clear()

    def _give_nothing(self, worker: _Worker) -> None:
        try:
            worker.connection.send(None)
        except OSError:  # it has ended already
            return


def _drain(connection: Connection) -> None:
    """Read what a worker still says, so that it does not wait for a reader."""
    try:
        while connection.poll():
            connection.recv()
    except (EOFError, OSError):
        return
