"""The job of `evaluate`: each line of the manifest is a spec's number and an image's id. Must not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.evaluation.turns import turns
from bigain_cli.shards.run_folder import RunFolder
from bigain_cli.shards.shard_work import RecordMaker

if TYPE_CHECKING:
    from bigain_cli.evaluation.summary import Summary


@dataclass(frozen=True)
class EvaluateJob:
    """The options of an evaluation."""

    dataset: str
    specs: tuple[str, ...]  # as given; none: no compression and the model's own
    model: str
    rules: StoppingRules
    device: str = "auto"
    dtype: str = "auto"
    cache: str | None = None
    labels: str | None = None
    templates: tuple[str, ...] = ()
    against: str | None = None
    limit: int | None = None
    per_class: int | None = None
    seed: int = 0
    batch: int | None = None
    min_probability: float | None = None
    shortlist: str | None = None
    tree: str | None = None

    def start(self, number: int) -> RecordMaker:
        """Open the dataset and load the model."""
        from bigain_cli.engines.evaluation_records import start_evaluation

        return start_evaluation(vars(self), number)

    def summarise(self, folder: RunFolder) -> Summary:
        """Summarise a finished run, on a device as the workers have."""
        from bigain_cli.engines.evaluation_records import summary_of

        return summary_of(vars(self), folder)


def manifest_lines(ids: Iterable[str], specs: int) -> Iterator[str]:
    """Yield the lines in the order of a run of one process: some images under each spec, then the next."""
    for group in turns(ids):
        for spec in range(specs):
            yield from (f"{spec} {id}" for id in group)
