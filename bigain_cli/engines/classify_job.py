"""The job of `classify`: its options, small enough to be sent to another machine. Must not import torch."""

from __future__ import annotations

from dataclasses import dataclass

from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.compress import Spec
from bigain_cli.labels import LabelSet
from bigain_cli.shards.shard_work import RecordMaker


@dataclass(frozen=True)
class ClassifyJob:
    """The options of a run."""

    model: str
    labels: LabelSet | None
    rules: StoppingRules
    device: str = "auto"
    dtype: str = "auto"
    cache: str | None = None
    templates: tuple[str, ...] = ()
    seed: int = 0
    reject: bool = False
    compress: Spec | None = None
    batch: int | None = None
    timing: bool = False
    min_probability: float | None = None
    top: int = 5
    recursive: bool = False
    offline: bool = False
    shortlist: str | None = None
    tree: str | None = None

    def start(self, number: int) -> RecordMaker:
        """Load the model and encode the prompts; the processes of one machine have numbers, and share its GPUs."""
        from bigain_cli.backbones.loading import load
        from bigain_cli.classification.classifier import Classification
        from bigain_cli.engines.image_records import ImageRecords, device_of

        backbone = load(self.model, device_of(self.device, number), self.dtype, self.cache)
        run = Classification(
            backbone, self.labels, self.templates, self.rules, self.seed, self.reject, self.batch, self.timing,
            compress=self.compress, min_probability=self.min_probability, shortlist=self.shortlist, tree=self.tree,
        )  # fmt: skip
        return ImageRecords(run, self.top, self.timing, self.recursive, self.offline, self.tree)
