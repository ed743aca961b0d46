"""What is evaluated: the chosen images of a dataset, the labels to choose between, the right label of each class.

What cannot be evaluated is refused here, before a model is loaded. Torch-free.
"""

from __future__ import annotations

from dataclasses import dataclass

from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.datasets.dataset import Dataset, choose, labels_for
from bigain_cli.datasets.opening import open_dataset
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.generated_options import GeneratedImagesOptions, share_of
from bigain_cli.labels import LabelSet


@dataclass(frozen=True)
class EvaluationInputs:
    """A dataset, the chosen part of it, and its labels."""

    whole: Dataset
    chosen: Dataset
    labels: LabelSet
    label_of_class: tuple[str, ...]


def evaluation_inputs(
    dataset: str | Dataset,
    *,
    labels: str | None = None,
    limit: int | None = None,
    per_class: int | None = None,
    seed: int = 0,
    rules: StoppingRules | None = None,
    generate: GeneratedImagesOptions | None = None,
) -> EvaluationInputs:
    """Choose images and labels as `evaluate` does, or say why that cannot be."""
    whole = open_dataset(dataset) if isinstance(dataset, str) else dataset
    if generate is not None:
        share_of(generate, whole)
    chosen = choose(whole, limit, per_class, seed)
    check_multilabel(chosen, rules or StoppingRules())
    return EvaluationInputs(whole, chosen, *labels_for(chosen, labels))


def check_multilabel(dataset: Dataset, rules: StoppingRules) -> None:
    """Refuse several right labels where labels take different draws, or where there is none at all."""
    if not dataset.multilabel:
        return
    if rules.schedule != "fixed":
        why = "scores of several right labels compare only if all labels take all draws"
        raise UsageError(f"--schedule {rules.schedule}", why, "Use --schedule fixed.")
    if not any(case.truth for case in dataset.cases):
        raise UsageError(f"dataset {dataset.name}", "no chosen image has a label", "Choose more, or another --seed.")
