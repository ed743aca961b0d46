"""What an evaluation says before it begins: its images and labels, what is left out, and a tree that nobody chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bigain_cli.cli.classify_shortlist import say_tree
from bigain_cli.cli.evaluate_request import EvaluateRequest
from bigain_cli.cli.messages import Messages

if TYPE_CHECKING:
    from bigain_cli.datasets.dataset import Dataset
    from bigain_cli.labels import LabelSet


def say_choices(
    dataset: Dataset, chosen: Dataset, labels: LabelSet, request: EvaluateRequest, messages: Messages
) -> None:
    """Say it; `chosen` has the images of the dataset that are evaluated."""
    images = f"{len(chosen.cases)} of {len(dataset.cases)} images"
    messages.detail(f"{dataset.name}: {images}, labels: {labels.origin}")
    if dataset.unlabelled:
        messages.note(f"{len(dataset.unlabelled)} excluded, the first: {dataset.unlabelled[0]}")
    say_tree(request.shortlist, request.tree, len(labels.labels), request.rules.schedule, messages)
