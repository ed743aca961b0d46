"""The engine of a cluster: actors of Ray, each with a model of its own; one that dies, alone or with its machine, is
replaced as soon as there is room. The only file that imports Ray. Must not know what records are.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

from bigain_cli.engines.assignments import Assignments
from bigain_cli.engines.job import Job, Report
from bigain_cli.errors import BigainError, UsageError, one_line
from bigain_cli.images.urls import is_url
from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.shards.manifest import Shard, all_ids
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import join
from bigain_cli.shards.shard_work import Piece, work

IN_FLIGHT = 2  # pieces that an actor has, one of them waiting: so it never waits for the driver
LISTEN = 0.5  # seconds that an actor waits for news before it says that there are none
GATHERED = 0.05  # seconds in which news are gathered
PATIENCE = 20.0  # seconds that actors may take for the blocks under way when they are told to stop
READY, HEARD, PIECE = "ready", "heard", "piece"  # what the driver waits for


class ShardActor:
    """A worker: it loads the model once, does one piece after the other, and counts what has come out."""

    def __init__(self, job: Job, folder: RunFolder, directory: str) -> None:
        self._job, self._folder, self._directory = job, folder, directory
        self._counts, self._changed, self._stopped = RunCounts(), threading.Event(), threading.Event()
        self._notes: list[str] = []

    def start(self) -> BigainError | None:
        """Load the model; return why this machine cannot take part."""
        try:
            self._enter_folder()
            warnings.showwarning = lambda message, *_, **__: self._notes.append(f"warning: {message}")
            self._maker = self._job.start(0)
            self._notes += [f"warning: {each}" for each in join(self._folder, self._maker.making).warnings]
        except BigainError as problem:
            return problem
        return None

    def _enter_folder(self) -> None:
        """Go where the driver is, since relative paths are those of the driver."""
        node, hint = os.uname().nodename, "All machines need the same disk, at the same path."
        if not self._folder.manifest.is_file():
            raise UsageError(f"{self._folder.name} on {node}", "is not there", hint)
        if os.path.isdir(self._directory):
            os.chdir(self._directory)
        elif self._folder.is_shared_disk or not is_url(next(all_ids(self._folder.manifest), "")):
            raise UsageError(
                f"{self._directory} on {node}", "is not there", f"{hint} Or name images of an object store."
            )

    def do(self, piece: Piece) -> BigainError | None:
        """Do a piece, or as much of it as there is time for; return what ends the whole run."""
        try:
            with contextlib.closing(work(self._folder, piece, self._maker)) as steps:
                for record in steps:
                    if record is not None:
                        self._counts.add_record(record)
                        self._changed.set()
                    if self._stopped.is_set():
                        break
        except BigainError as problem:
            return problem
        return None

    @ray.method(concurrency_group="listen")
    def hear(self) -> tuple[RunCounts, list[str]]:
        """Return what has come out so far, and notes, as soon as there is anything new, or after a moment."""
        self._changed.wait(LISTEN)
        time.sleep(GATHERED)
        self._changed.clear()
        notes, self._notes = self._notes, []
        return self._counts, notes

    @ray.method(concurrency_group="listen")
    def stop(self) -> None:
        """End after the block under way."""
        self._stopped.set()


@dataclass
class _Worker:
    """An actor, its pieces, the first of which it is doing, and what it has said."""

    actor: Any
    is_ready: bool = False
    pieces: list[Piece] = field(default_factory=list)
    counts: RunCounts = field(default_factory=RunCounts)


def run_on_ray(
    job: Job,
    folder: RunFolder,
    shards: Iterator[Shard],
    workers: int | None,
    address: str,
    gpu: bool = True,
    with_logs: bool = False,
    variables: Mapping[str, str] | None = None,
) -> Generator[Report, None, None]:
    """Do all shards; yield what has come out as it does. Stopped, it waits for the blocks under way.

    Actors have these `variables` in their environment before any library is loaded.
    """
    with _connected(address, with_logs):
        pool = _Pool(job, folder.as_seen_elsewhere(), Assignments(folder, shards), _options(gpu, variables))
        try:
            yield from pool.run(workers)
        finally:
            pool.stop()


def call_on_ray(
    function: Callable[[RunFolder], Any],
    folder: RunFolder,
    address: str,
    gpu: bool = True,
    variables: Mapping[str, str] | None = None,
) -> Any:
    """Call a function once, on a machine as the workers have."""
    with _connected(address):
        remote: Any = ray.remote
        answer = ray.get(remote(**_options(gpu, variables))(_call).remote(function, folder, os.getcwd()))
    if isinstance(answer, BigainError):
        raise answer
    return answer


def _call(function: Callable[[RunFolder], Any], folder: RunFolder, directory: str) -> Any:
    """Return what a function returns, or the error that ends it: raised here, it would arrive as a traceback."""
    if os.path.isdir(directory):
        os.chdir(directory)
    try:
        return function(folder)
    except BigainError as problem:
        return problem


def _options(gpu: bool, variables: Mapping[str, str] | None) -> dict[str, Any]:
    """Return what an actor takes of a machine (a GPU if the cluster has any, or else a core), and its variables."""
    has_gpus = gpu and ray.cluster_resources().get("GPU", 0) >= 1
    needs: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if has_gpus else {"num_cpus": 1}
    return {**needs, "runtime_env": {"env_vars": dict(variables)}} if variables else needs


@contextlib.contextmanager
def _connected(address: str, with_logs: bool = False) -> Iterator[None]:
    """Connect to a cluster, or start Ray on this machine until the end of the block."""
    quiet: dict[str, Any] = {"log_to_driver": with_logs}
    if not address.startswith("ray://"):
        quiet |= {"logging_level": "error", "configure_logging": False}
    what, hint = f"--engine {address}", "Is the cluster running?"
    if address == "ray":
        address, quiet, hint = "local", {**quiet, "include_dashboard": False}, "Ray could not be started here."
    if ray.is_initialized():  # by somebody else, who will also end it
        yield
        return
    logging.disable(logging.WARNING)  # Ray sets the levels of its loggers itself
    ray._private.worker._worker_logs_enabled = with_logs  # or it prints on stdout that a machine has died
    try:
        with warnings.catch_warnings(action="ignore"):
            ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as problem:
        why = one_line(problem, 200)
        raise UsageError(what, f"cannot be reached ({why})", hint) from problem
    finally:
        logging.disable(logging.NOTSET)
    try:
        yield
    finally:
        ray.shutdown()


class _Pool:
    """The actors."""

    def __init__(self, job: Job, folder: RunFolder, assignments: Assignments, options: Mapping[str, Any]) -> None:
        self._job, self._folder, self._assignments = job, folder, assignments
        self._options = options
        self._waiting: dict[Any, tuple[str, _Worker, Piece | None]] = {}
        self._workers: list[_Worker] = []
        self._notes: set[str] = set()

    def run(self, workers: int | None) -> Generator[Report, None, None]:
        """Work until nothing is left."""
        room = ray.cluster_resources().get("GPU" if "num_gpus" in self._options else "CPU", 1)
        for _ in range(workers or max(1, int(room))):
            self._start()
        while self._give_pieces():
            done, _ = ray.wait(list(self._waiting), num_returns=1)
            for ref in done:
                if ref in self._waiting:
                    yield from self._take(ref)

    def _start(self) -> None:
        """Start an actor, which may have to wait for room."""
        remote: Any = ray.remote  # its types are those of functions
        made = remote(concurrency_groups={"listen": 1}, **self._options)(ShardActor)
        worker = _Worker(made.remote(self._job, self._folder, os.getcwd()))
        self._workers.append(worker)
        self._waiting[worker.actor.start.remote()] = READY, worker, None

    def _give_pieces(self) -> bool:
        """Give every actor that is ready its pieces; return whether anything is being done."""
        for count in range(1, IN_FLIGHT + 1):
            for worker in self._workers:
                if worker.is_ready and len(worker.pieces) < count:
                    piece = self._assignments.next()
                    if piece is None:
                        break
                    worker.pieces.append(piece)
                    self._waiting[worker.actor.do.remote(piece)] = PIECE, worker, piece
        if any(worker.pieces for worker in self._workers):
            return True
        piece = self._assignments.next()
        if piece is None:
            return False
        self._assignments.give_back(piece)
        return True

    def _take(self, ref: Any) -> Iterator[Report]:
        """Take what an actor has answered, or replace it if it has died."""
        kind, worker, piece = self._waiting.pop(ref)
        try:
            answer = ray.get(ref)
        except ray.exceptions.RayActorError:
            yield from self._replace(worker, "killed")
            return
        except ray.exceptions.RayError as problem:  # as good as dead
            yield from self._replace(worker, str(problem).strip().splitlines()[-1])
            return
        if kind == HEARD:
            yield from self._heard(worker, *answer)
            self._listen(worker)
        elif answer is not None:
            raise answer
        elif kind == READY:
            worker.is_ready = True
            self._assignments.started()
            self._listen(worker)
            yield RunCounts()
        elif piece is not None:
            worker.pieces.remove(piece)
            self._assignments.ended(piece)

    def _listen(self, worker: _Worker) -> None:
        ref = worker.actor.hear.remote()
        self._waiting[ref] = HEARD, worker, None

    def _heard(self, worker: _Worker, counts: RunCounts, notes: list[str]) -> Iterator[Report]:
        """Yield what has come out since the last time."""
        yield counts - worker.counts
        worker.counts = counts
        for note in notes:
            yield from self._note(note)

    def _replace(self, worker: _Worker, reason: str) -> Iterator[Report]:
        """Start another actor in the place of one that has died; only its first piece can be the cause."""
        self._waiting = {ref: entry for ref, entry in self._waiting.items() if entry[1] is not worker}
        self._workers.remove(worker)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(worker.actor)
        for piece in reversed(worker.pieces[1:]):
            self._assignments.give_back(piece)
        if worker.pieces:
            number = worker.pieces[0].shard.number
            self._assignments.died(worker.pieces[0])
            yield from self._note(f"a worker died ({reason}) on shard {number}; another one continues")
        elif not worker.is_ready:
            self._assignments.start_failed(reason)
        self._start()

    def _note(self, text: str) -> Iterator[Report]:
        """Yield a note that was not yielded before."""
        if text not in self._notes:
            self._notes.add(text)
            yield text

    def stop(self) -> None:
        """Let every actor finish the block under way, and end it."""
        with contextlib.suppress(ray.exceptions.RayError):
            for worker in self._workers:
                if worker.pieces:
                    worker.actor.stop.remote()
            working = [ref for ref, (kind, _, _) in self._waiting.items() if kind == PIECE]
            if working:
                ray.wait(working, num_returns=len(working), timeout=PATIENCE)
        for worker in self._workers:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(worker.actor)
