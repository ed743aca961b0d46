"""The folder of a run whose results are in an object store, and what a machine keeps on its disk meanwhile.

Parts, the manifest and the facts about the run are objects, each written whole by one request. A shard grows in a file
of the machine that works on it, since objects cannot grow; when the work stops before its end, the file goes to the
store, so that any machine can go on. There are no locks between machines: of two that write an object, the first wins.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.object_store import ObjectStore
from bigain_cli.outputs.whole_files import save_file
from bigain_cli.shards.manifest import HINT, Manifest, Shard, manifest_of, write_or_compare
from bigain_cli.shards.run_folder import JOURNAL, MANIFEST, NOTES, PART, RECORD, RunFolder, numbers

STATE, LOCK, MACHINE = ".manifest-state", ".lock", ".machine"  # files of this machine alone
BEGUN, NOTES_FOLDER = "begun.json", "notes"  # in the store: what is known at first, and a file for each machine
TEMPORARY, OLD = ".bigain-", 86_400.0  # how files of one process begin, and the seconds after which it is gone


class StoredRunFolder(RunFolder):
    """Objects under an address, and a folder of this machine for what is under way."""

    def __init__(self, url: str, cache: str) -> None:
        self._store, self._cache = ObjectStore(url), cache
        self._is_current = False  # whether the manifest on this disk is known to be that of the store
        self._done: set[int] | None = None
        name = f"{platform.node()} {self._store.url}"  # machines may share a home
        digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        super().__init__(Path(cache).expanduser() / "runs" / digest)

    def __reduce__(self) -> tuple[type[StoredRunFolder], tuple[str, str]]:
        return StoredRunFolder, (self._store.url, self._cache)  # another machine has another disk

    def check_address(self) -> None:
        """Refuse an address that no results can be written to."""
        self._store.check()

    @property
    def name(self) -> str:
        """How messages call it."""
        return self._store.url

    def name_of(self, file: str) -> str:
        """Return how messages call one of its files."""
        return self._store.name_of(file)

    def make(self) -> None:
        """Refuse an address that holds anything else."""
        self._store.check_bucket()
        self._refuse_others(self._store.names(), self._fetch_manifest())

    def remove_empty(self) -> None:
        """Leave it: there are no folders in a store."""

    def check_begun(self) -> None:
        """Refuse an address that has no run."""
        self._store.check_bucket()
        self._fetch_manifest()
        if not (self.path / MANIFEST).exists():
            hint = "Name an address that bigain classify -o has written to."
            raise UsageError(self.name, f"no run there: there is no {MANIFEST}", hint)

    @property
    def is_shared_disk(self) -> bool:
        """Whether all machines see it at this path."""
        return False

    def as_seen_elsewhere(self) -> RunFolder:
        """Return the same folder for processes on other machines."""
        return self

    @property
    def manifest(self) -> Path:
        """Where the ids are on this machine."""
        if not self._is_current:
            self._fetch_manifest()
        return self.path / MANIFEST

    def _fetch_manifest(self) -> bool:
        """Copy the manifest to this disk, unless it is here; what is left of another run is removed."""
        self._make_room()
        with self._alone():
            state, there = self._store.state(MANIFEST), self.path / STATE
            if state is None or not there.exists() or there.read_text() != state:
                self._forget()
            if state is not None and not there.exists():
                with self._temporary() as path:
                    self._store.download(MANIFEST, path)
                    self._keep_manifest(path)
        self._is_current = state is not None
        return self._is_current

    def _make_room(self) -> None:
        """Make the folder on this disk, and remove what killed processes have left there."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for left in self.path.glob(f"{TEMPORARY}*"):
                if left.stat().st_mtime < time.time() - OLD:
                    left.unlink(missing_ok=True)
        except OSError as problem:
            why = f"cannot be made ({problem.strerror}), and shards under way are kept there"
            raise BigainError(str(self.path), why, "Set XDG_CACHE_HOME to a folder of this machine.") from problem

    def _forget(self) -> None:
        """Remove what belongs to another run at the same address."""
        for name in os.listdir(self.path):
            if name in (MANIFEST, NOTES, STATE, MACHINE) or JOURNAL.fullmatch(name):
                (self.path / name).unlink(missing_ok=True)

    def _keep_manifest(self, path: Path) -> None:
        """Take a file as the manifest of this machine."""
        path.replace(self.path / MANIFEST)
        save_file(self.path, STATE, (self._store.state(MANIFEST) or "").encode())

    def write_manifest(self, ids: Iterable[str]) -> Manifest:
        """Write the manifest to the store; if another machine was faster, it must have listed the same."""
        if self._is_current:
            return write_or_compare(self.manifest, ids, self.name_of(MANIFEST))
        with self._temporary() as path:
            path.unlink()
            mine = write_or_compare(path, ids)
            with self._alone():
                if is_first := self._store.create(MANIFEST, path):
                    self._keep_manifest(path)
        if not is_first and (not self._fetch_manifest() or manifest_of(self.manifest) != mine):
            why = "another process has listed other images at the same time"
            raise UsageError(self.name_of(MANIFEST), why, HINT)
        self._is_current = True
        return mine

    def read_record(self) -> bytes | None:
        """Return the facts about the run, or those of before a model was loaded."""
        return self._store.read(RECORD) or self._store.read(BEGUN)

    def begin_record(self, data: bytes) -> bool:
        """Write what is known before a model is loaded; false: another machine has just done so."""
        return self._create(BEGUN, data)

    def complete_record(self, data: bytes) -> bool:
        """Write how records are made to the store; false: another machine has just done so."""
        return self._create(RECORD, data)

    def _create(self, name: str, data: bytes) -> bool:
        with self._temporary() as path:
            path.write_bytes(data)
            return self._store.create(name, path)

    def replace_record(self, data: bytes) -> None:
        """Write the facts about the run anew."""
        self._store.write(RECORD, data)

    def finish(self, number: int) -> None:
        """Write a whole journal as the part, unless another machine was faster, and remove the journal."""
        self._store.create(self.part(number).name, self.journal(number))
        self._known_parts().add(number)
        self.forget_journal(number)

    def forget_journal(self, number: int) -> None:
        """Remove what is left of a shard that is finished."""
        super().forget_journal(number)
        with suppress(BigainError):
            self._store.remove(self.journal(number).name)

    @contextmanager
    def readable_part(self, number: int) -> Iterator[Path]:
        """Yield a copy of a part."""
        with self._temporary() as path:
            self._store.download(self.part(number).name, path)
            yield path

    @contextmanager
    def readable_journal(self, number: int) -> Iterator[Path]:
        """Yield a file with what is recorded of a shard that is not finished, here or, as far as known, elsewhere."""
        journal = self.journal(number)
        if journal.exists():
            yield journal
            return
        with self._temporary() as path:
            path.write_bytes(self._store.read(journal.name) or b"")
            yield path

    def share_journal(self, number: int) -> None:
        """Make the journals of this disk and of the store the same: the longer one, for the other is its beginning."""
        journal = self.journal(number)
        here, there = journal.stat().st_size, self._store.size(journal.name) or 0
        if here > there:
            self._store.write(journal.name, journal.read_bytes())
        elif there > here:
            data = self._store.read(journal.name) or b""
            if len(data) > here:
                with journal.open("r+b") as file:  # the file that is locked
                    file.write(data)

    def add_note(self, line: bytes, for_all: bool) -> None:
        """Add a line to the notes of this machine, and write them to the store if it is for all."""
        super().add_note(line, for_all)
        if for_all:
            self._store.write(f"{NOTES_FOLDER}/{self._machine()}.jsonl", (self.path / NOTES).read_bytes())

    def _machine(self) -> str:
        """Return a name for this machine that no other has."""
        path = self.path / MACHINE
        with self._alone():
            if not path.exists():
                save_file(self.path, MACHINE, uuid.uuid4().hex.encode())
        return path.read_text()

    def notes(self) -> Iterator[bytes]:
        """Yield the lines of the notes of all machines."""
        for name in self._store.names(NOTES_FOLDER):
            yield from (self._store.read(f"{NOTES_FOLDER}/{name}") or b"").splitlines()

    def owns(self, path: str) -> bool:
        """Return whether a path is one of the run's own files."""
        return path.startswith(f"{self.name}/") or super().owns(path)

    def parts(self) -> set[int]:
        """Return the numbers of the finished shards."""
        self._done = None
        return set(self._known_parts())

    def journals(self) -> set[int]:
        """Return the numbers of the shards that have begun and not ended, here or, as far as known, elsewhere."""
        return super().journals() | numbers(self._store.names(), JOURNAL)

    def is_done(self, shard: Shard) -> bool:
        """Return whether a shard's part is there."""
        known = self._known_parts()
        if shard.number not in known and self._store.size(self.part(shard.number).name) is not None:
            known.add(shard.number)
        return shard.number in known

    def _known_parts(self) -> set[int]:
        if self._done is None:
            self._done = numbers(self._store.names(), PART)
        return self._done

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process of this machine change what all of them share."""
        with self._alone():
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        path = self.path / LOCK
        path.touch()
        with self._locked(path):
            yield

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        """Yield a file of this process alone."""
        descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=self.path)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)
