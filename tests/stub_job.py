"""A job without a network: records at once, or slowly, and images that kill whatever process works on them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigain_cli.shards.opening import make_run_folder
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.run_record import Making, begin

SETTINGS = {"version": "1", "model": "stub", "fingerprint": "0123"}


@dataclass(frozen=True)
class StubJob:
    """Records of a given pace; an image whose name has `deadly` in it kills its process."""

    seconds: float = 0.0
    fingerprint: str = "0123"
    device_kind: str = "stub"

    def start(self, number: int) -> StubMaker:
        return StubMaker(self)


class StubMaker:
    def __init__(self, job: StubJob) -> None:
        self._job, self._settings = job, {**SETTINGS, "fingerprint": job.fingerprint}
        self.making = Making(self._settings, ("a", "b"), {"top": 1}, 8, job.device_kind, {"stub": "1"})

    def record_ids(self, ids: Sequence[str]) -> list[str]:
        return list(ids)

    def records(self, ids: Sequence[str]) -> Iterator[dict[str, Any] | None]:
        for id in ids:
            yield None
            if self._job.seconds:
                time.sleep(self._job.seconds)
            if "deadly" in id:
                os.kill(os.getpid(), signal.SIGKILL)
            yield record_of(id, self._settings)

    def died(self, id: str) -> dict[str, Any]:
        return {"id": id, "error": {"kind": "worker-died", "message": id}, "settings": self._settings}


def record_of(id: str, settings: dict[str, str] = SETTINGS) -> dict[str, Any]:
    return {"id": id, "label": "a", "answer": "a", "settled": len(id) % 2 == 0, "settings": settings}


def stub_run(path: Path | str, ids: Sequence[str], size: int = 8, cache: str = "") -> RunFolder:
    """Make a run's folder."""
    folder = make_run_folder(str(path), cache)
    begin(folder, folder.write_manifest(ids), size)
    return folder
