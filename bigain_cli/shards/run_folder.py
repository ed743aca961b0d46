"""The folder of a run: the names of its files, which parts are there, and a lock for what several processes change."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bigain_cli.errors import BigainError, UsageError
from bigain_cli.outputs.locks import lock
from bigain_cli.outputs.whole_files import make_folder
from bigain_cli.shards.manifest import Shard

PART, JOURNAL = re.compile(r"part-(\d{6,})\.jsonl"), re.compile(r"\.part-(\d{6,})\.jsonl")
PATIENCE, PAUSE = 60.0, 0.02  # seconds that a lock, which is held for a moment only, is waited for


@dataclass(frozen=True)
class RunFolder:
    """A folder with one run in it."""

    path: Path

    @staticmethod
    def make(path: str) -> RunFolder:
        """Make the folder; refuse one that holds anything else."""
        folder = RunFolder(make_folder(path))
        other = next((name for name in sorted(os.listdir(path)) if not name.startswith(".")), None)
        if other is not None and not folder.manifest.exists():
            why = f"holds other files ({other}), and no run that could be continued"
            raise UsageError(path, why, "Name an empty folder, or a new one.")
        return folder

    @staticmethod
    def existing(path: str) -> RunFolder:
        """Return a folder that has a run."""
        folder = RunFolder(Path(path))
        if not folder.manifest.is_file():
            hint = "Name a folder that bigain classify -o FOLDER/ --shard or --workers has written."
            raise UsageError(path, "no run in it: there is no manifest.txt", hint)
        return folder

    @property
    def manifest(self) -> Path:
        """Where the ids are."""
        return self.path / "manifest.txt"

    @property
    def record(self) -> Path:
        """Where the facts about the run are."""
        return self.path / "run.json"

    @property
    def notes(self) -> Path:
        """Where processes note when they begin and finish a shard."""
        return self.path / ".notes.jsonl"

    def part(self, number: int) -> Path:
        """Return where a finished shard is."""
        return self.path / f"part-{number:06}.jsonl"

    def journal(self, number: int) -> Path:
        """Return where a shard is while it grows."""
        return self.path / f".part-{number:06}.jsonl"

    def owns(self, path: str) -> bool:
        """Return whether a path is one of the run's own files."""
        real = Path(os.path.realpath(path))
        own = real in (Path(os.path.realpath(each)) for each in (self.manifest, self.record, self.notes))
        is_shard = PART.fullmatch(real.name) or JOURNAL.fullmatch(real.name)
        return own or (bool(is_shard) and real.parent == Path(os.path.realpath(self.path)))

    def parts(self) -> set[int]:
        """Return the numbers of the finished shards."""
        return self._numbers(PART)

    def journals(self) -> set[int]:
        """Return the numbers of the shards that have begun and not ended."""
        return self._numbers(JOURNAL)

    def _numbers(self, pattern: re.Pattern[str]) -> set[int]:
        with os.scandir(self.path) as entries:
            return {int(match[1]) for entry in entries if (match := pattern.fullmatch(entry.name))}

    def is_done(self, shard: Shard) -> bool:
        """Return whether a shard's part is there."""
        return self.part(shard.number).exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process change what all of them share."""
        with self.manifest.open("rb") as file:
            until = time.monotonic() + PATIENCE
            while lock(file.fileno()) is False:
                if time.monotonic() > until:
                    raise BigainError(str(self.path), "locked by another process", "Is one of them stopped?")
                time.sleep(PAUSE)
            yield
