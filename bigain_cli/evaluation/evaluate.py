"""`evaluate`: a backbone, a dataset and specs in, a summary out. What the command does, without its files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.evaluation.dataset import Dataset, open_dataset
from bigain_cli.evaluation.drawing import Drawing, drawable
from bigain_cli.evaluation.matching import labels_for
from bigain_cli.evaluation.measures import Record
from bigain_cli.evaluation.pictures import Gallery, Studio
from bigain_cli.evaluation.selection import choose
from bigain_cli.evaluation.summary import Summary, summarise
from bigain_cli.evaluation.trials import Evaluation, Plan
from bigain_cli.rules import Rules


def evaluate(
    backbone: Backbone | str,
    dataset: str | Dataset,
    specs: Sequence[str] = ("none",),
    *,
    labels: str | None = None,
    limit: int | None = None,
    per_class: int | None = None,
    rules: Rules | None = None,
    seed: int = 0,
    templates: Sequence[str] = (),
    batch: int | None = None,
    against: str | None = None,
    drawing: Drawing | None = None,
) -> Summary:
    """Ask about every chosen picture under every spec, and sum up; differences are to `against`, or to the first.

    With a `drawing`, pictures are drawn under every spec, too, and compared with those of the whole dataset; with
    `limit=0` nothing else is done.
    """
    backbone = as_backbone(backbone)
    whole = open_dataset(dataset) if isinstance(dataset, str) else dataset
    chosen = choose(whole, limit, per_class, seed)
    label_set, answers = labels_for(chosen, labels)
    plan = Plan(tuple(specs), rules or Rules(), seed, tuple(templates), batch)
    evaluation = Evaluation(backbone, chosen, label_set, answers, plan)
    baseline = evaluation.named(against)
    studio = studio_of(evaluation, backbone, whole, drawing)
    found: dict[str, dict[str, Record]] = {name: {} for name in evaluation.specs}
    for trial in evaluation.trials():
        found[trial.spec][trial.record["id"]] = trial.record
    summary = summarise(found, [label.name for label in label_set.labels], baseline, evaluation.about())
    for event in studio.events(baseline) if studio is not None else ():
        if isinstance(event, Gallery):
            summary = dataclasses.replace(summary, gallery=event)
    return summary


def studio_of(evaluation: Evaluation, backbone: Backbone, whole: Dataset, drawing: Drawing | None) -> Studio | None:
    """Prepare what is to be drawn under the specs of an evaluation."""
    if drawing is None:
        return None
    specs, plan = drawable(evaluation.rungs), evaluation.plan
    return Studio(backbone, whole, evaluation.prompts(), specs, drawing, plan.seed, plan.batch)
