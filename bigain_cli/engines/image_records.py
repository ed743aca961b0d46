"""Makes the records of images whose ids are the lines of a manifest: those of a run on one machine, to the byte."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from bigain_cli.classification.classifier import Classification
from bigain_cli.classification.label_prompts import digest_of_prompts
from bigain_cli.classification.ranking import Failure
from bigain_cli.images import Source, sha256_of, source_of_id
from bigain_cli.outputs.output_format import Record
from bigain_cli.outputs.text import counted
from bigain_cli.shards.run_record import Making
from bigain_cli.shortlist.tree_files import digest_of_groups

VERSIONS = ("diffusers", "transformers", "numpy", "pillow")  # that can change the bytes of a record, beside torch's
DIED = "worker-died"  # the kind of the error


class ImageRecords:
    """Makes the records of images; the rest says what is in a record, and how to find an image."""

    def __init__(
        self, run: Classification, top: int, timing: bool, recursive: bool, offline: bool, tree: str | None = None
    ) -> None:
        self._run, self._top, self._recursive, self._offline = run, top, recursive, offline
        layout: dict[str, Any] = {"top": top, "timing": timing, "reject": run.competing[-1].texts == ("",)}
        layout["prompts"] = digest_of_prompts([label.texts for label in run.competing])
        names = tuple(label.name for label in run.competing)
        if tree is not None:
            layout["tree"] = digest_of_groups(tree, names[: len(names) - layout["reject"]])
        self.making = Making(run.settings, names, layout, run.batch, device_kind(run.backbone.device), versions())

    def record_ids(self, ids: Sequence[str]) -> list[str]:
        """Return the ids: a record has the one of its line."""
        return list(ids)

    def records(self, ids: Sequence[str]) -> Iterator[Record | None]:
        """Yield a record for each image, and None after a block of draws that has finished none."""
        for outcome in self._run.rankings(map(self._source, ids)):
            yield outcome.to_dict(self._top) if outcome.finished else None

    def died(self, id: str) -> Record:
        """Return the record of an image whose worker died whenever it was classified alone."""
        return Failure(id, DIED, why_died(id), self._run.settings, sha256=sha256_of(self._source(id))).to_dict()

    def _source(self, id: str) -> Source:
        return source_of_id(id, self._recursive, self._offline)


def why_died(id: str) -> str:
    """Return what the record of such an image says."""
    return f"{id}: its worker died three times while it classified this image alone. Check the image."


def device_of(name: str, number: int) -> str:
    """Return the device of a process: where there are several GPUs and none is named, they take turns."""
    if name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{number % torch.cuda.device_count()}"
    return name


def device_kind(device: torch.device) -> str:
    """Return the name of a GPU, or the type of any other device and its threads.

    On one kind, the same work gives the same bytes.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {counted(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else device.type


def versions() -> dict[str, str]:
    """Return the versions of the libraries that compute."""
    return {"torch": torch.__version__, **{name: importlib.metadata.version(name) for name in VERSIONS}}
