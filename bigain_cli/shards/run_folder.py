"""The folder of a run: its files, which parts are there, and a lock for what several processes change.

`StoredRunFolder` is the same for a run whose results are in an object store.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.locks import lock
from bigain_cli.outputs.renamed_file import put_in_place
from bigain_cli.outputs.whole_files import make_folder, save_file
from bigain_cli.shards.manifest import Manifest, Shard, write_or_compare

PART, JOURNAL = re.compile(r"part-(\d{6,})\.jsonl"), re.compile(r"\.part-(\d{6,})\.jsonl")
MANIFEST, RECORD, NOTES = "manifest.txt", "run.json", ".notes.jsonl"
PATIENCE, PAUSE = 60.0, 0.02  # seconds that a lock, which is held for a moment only, is waited for


class RunFolder:
    """A folder with one run in it."""

    def __init__(self, path: Path) -> None:
        self.path, self._is_new = path, False

    @property
    def name(self) -> str:
        """How messages call it."""
        return str(self.path)

    def name_of(self, file: str) -> str:
        """Return how messages call one of its files."""
        return str(self.path / file)

    def make(self) -> None:
        """Make the folder; refuse one that holds anything else."""
        self._is_new = not self.path.exists()
        make_folder(self.name)
        self._refuse_others(os.listdir(self.path), self.manifest.exists())

    def remove_empty(self) -> None:
        """Remove the folder that was made, if no run has begun in it."""
        if self._is_new:
            with suppress(OSError):  # it is not empty, or it is gone
                self.path.rmdir()

    def check_begun(self) -> None:
        """Refuse a folder that has no run."""
        if not self.manifest.is_file():
            hint = "Name a folder that bigain classify -o FOLDER/ --shard or --workers has written."
            raise UsageError(self.name, f"no run in it: there is no {MANIFEST}", hint)

    def _refuse_others(self, names: Iterable[str], has_run: bool) -> None:
        other = next((name for name in sorted(names) if not name.startswith(".")), None)
        if other is not None and not has_run:
            why = f"holds other files ({other}), and no run that could be continued"
            raise UsageError(self.name, why, "Name an empty folder, or a new one.")

    def as_seen_elsewhere(self) -> RunFolder:
        """Return the same folder for processes that may be in another folder."""
        return RunFolder(self.path.absolute())

    @property
    def is_shared_disk(self) -> bool:
        """Whether all machines see it at this path."""
        return True

    @property
    def manifest(self) -> Path:
        """Where the ids are."""
        return self.path / MANIFEST

    def write_manifest(self, ids: Iterable[str]) -> Manifest:
        """Write the manifest, or compare the ids with those of the one that is there."""
        return write_or_compare(self.manifest, ids)

    def read_record(self) -> bytes | None:
        """Return the facts about the run, if they are there."""
        try:
            return (self.path / RECORD).read_bytes()
        except FileNotFoundError:
            return None

    def begin_record(self, data: bytes) -> bool:
        """Write what is known before a model is loaded; false: another machine has just done so."""
        save_file(self.path, RECORD, data)
        return True

    def complete_record(self, data: bytes) -> bool:
        """Write how records are made; false: another machine has just done so."""
        save_file(self.path, RECORD, data)
        return True

    def replace_record(self, data: bytes) -> None:
        """Write the facts about the run anew."""
        save_file(self.path, RECORD, data)

    def part(self, number: int) -> Path:
        """Return where a finished shard is."""
        return self.path / f"part-{number:06}.jsonl"

    def journal(self, number: int) -> Path:
        """Return where a shard is while it grows."""
        return self.path / f".part-{number:06}.jsonl"

    def finish(self, number: int) -> None:
        """Make the part of a whole journal."""
        put_in_place(self.journal(number), self.part(number), force=True)

    @contextmanager
    def readable_part(self, number: int) -> Iterator[Path]:
        """Yield a file with the records of a finished shard."""
        yield self.part(number)

    @contextmanager
    def readable_journal(self, number: int) -> Iterator[Path]:
        """Yield a file with what is recorded of a shard that is not finished; it may be gone."""
        yield self.journal(number)

    def share_journal(self, number: int) -> None:
        """Let other machines continue a shard from here: they see the same disk."""

    def forget_journal(self, number: int) -> None:
        """Remove what is left of a shard that is finished."""
        self.journal(number).unlink(missing_ok=True)

    def add_note(self, line: bytes, for_all: bool) -> None:
        """Add a line to the notes, those of this machine or `for_all`."""
        descriptor = os.open(self.path / NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def notes(self) -> Iterator[bytes]:
        """Yield the lines of the notes."""
        with suppress(FileNotFoundError):
            yield from (self.path / NOTES).read_bytes().splitlines()

    def owns(self, path: str) -> bool:
        """Return whether a path is one of the run's own files."""
        real = Path(os.path.realpath(path))
        own = real in (Path(os.path.realpath(self.path / name)) for name in (MANIFEST, RECORD, NOTES))
        is_shard = PART.fullmatch(real.name) or JOURNAL.fullmatch(real.name)
        return own or (bool(is_shard) and real.parent == Path(os.path.realpath(self.path)))

    def parts(self) -> set[int]:
        """Return the numbers of the finished shards."""
        return numbers(os.listdir(self.path), PART)

    def journals(self) -> set[int]:
        """Return the numbers of the shards that have begun and not ended."""
        return numbers(os.listdir(self.path), JOURNAL)

    def is_done(self, shard: Shard) -> bool:
        """Return whether a shard's part is there."""
        return self.part(shard.number).exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process change what all of them share."""
        with self._locked(self.manifest):
            yield

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        with _opened_to_lock(path) as file:
            until = time.monotonic() + PATIENCE
            while lock(file.fileno()) is False:
                if time.monotonic() > until:
                    raise BigainError(self.name, "locked by another process", "Is one of them stopped?")
                time.sleep(PAUSE)
            yield


def _opened_to_lock(path: Path) -> BinaryIO:
    """Open a file, for writing if that is allowed: NFS locks no other."""
    try:
        return path.open("r+b")
    except PermissionError:
        return path.open("rb")


def numbers(names: Iterable[str], pattern: re.Pattern[str]) -> set[int]:
    """Return the numbers of the shards whose files have names of a pattern."""
    return {int(match[1]) for name in names if (match := pattern.fullmatch(name))}
