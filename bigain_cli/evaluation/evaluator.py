"""One record for each image and spec: all specs see the same images and the same draws, in turn.

In: a backbone and a dataset; out: a stream of records that lack nothing a summary needs. Never prints.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bigain_cli.backbones.base import Backbone
from bigain_cli.classification.classifier import Classification
from bigain_cli.classification.label_prompts import label_prompts
from bigain_cli.classification.ranking import Failure, Ranking, significant
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.compress import Spec
from bigain_cli.datasets.dataset import Case, Dataset
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.inputs import check_multilabel
from bigain_cli.evaluation.specs import compared, place_of
from bigain_cli.labels import LabelSet

AT_ONCE = 16  # images before it is the next spec's turn: what slows the machine slows all specs
TOP = 5
OWN = ("compress", "compression", "fingerprint")  # settings in which specs differ


@dataclass(frozen=True)
class EvaluationRecord:
    """A record with the whole result that it was made from, unless an earlier run has recorded it."""

    spec: str
    record: dict[str, Any]
    result: Ranking | Failure | None = None

    @property
    def earlier(self) -> bool:
        """Return whether an earlier run has recorded it."""
        return self.result is None


@dataclass(frozen=True)
class EvaluationOptions:
    """What is compared, and how much an image may take."""

    specs: tuple[str, ...]
    rules: StoppingRules
    seed: int = 0
    templates: tuple[str, ...] = ()
    batch: int | None = None
    views: bool = False  # whether results come with the image as the model sees it
    maps: bool = False  # and with heatmaps of the evidence


class Evaluator:
    """Specs on a dataset."""

    def __init__(
        self, backbone: Backbone, dataset: Dataset, labels: LabelSet, answers: Sequence[str], plan: EvaluationOptions
    ) -> None:
        check_multilabel(dataset, plan.rules)
        self._backbone, self._answers = backbone, tuple(answers)
        self.dataset, self.labels, self.plan = dataset, labels, plan
        self.specs: dict[str, Spec] = {}
        self.runs: dict[str, Classification] = {}
        for text, spec in zip(plan.specs, compared(plan.specs), strict=True):
            run = self._run(spec)
            name = run.settings["compress"]
            if name in self.specs:
                raise UsageError(f"-c {text}", f"{name} is given twice", "Keep one of them.")
            self.specs[name], self.runs[name] = spec, run

    def named(self, text: str | None) -> str:
        """Return the name under which a spec is compared; the first one without a text."""
        names = list(self.specs)
        return names[0] if text is None else names[place_of(text, list(self.specs.values()), names)]

    def prompts(self) -> list[str]:
        """Return the first prompt of each class's label."""
        backbone = self._backbone
        competing = label_prompts(self.labels, self.plan.templates, False, backbone.vocabulary, backbone.template)
        first = {label.name: label.texts[0] for label in competing}
        return [first[answer] for answer in self._answers]

    def truth_of(self, case: Case) -> list[str]:
        """Return the labels that are right for an image."""
        return list(dict.fromkeys(self._answers[number] for number in case.truth))

    def marks(self) -> dict[str, str]:
        """Return the specs' names by the fingerprint of their records."""
        return {run.settings["fingerprint"]: name for name, run in self.runs.items()}

    def about(self) -> dict[str, Any]:
        """Return what all specs have in common."""
        first = next(iter(self.runs.values())).settings
        public = {key: value for key, value in first.items() if key not in OWN}
        machine = {"device": str(self._backbone.device), "threads": torch.get_num_threads(), "torch": torch.__version__}
        weights = {"weights": self._backbone.identity, "labels": len(self.labels.labels)}
        return {"dataset": self.dataset.name, **public, **weights, **machine}

    def notes(self) -> dict[str, tuple[str, ...]]:
        """Return where specs do less than their names say."""
        notes = {name: run.report.notes if run.report is not None else () for name, run in self.runs.items()}
        return {name: found for name, found in notes.items() if found}

    def trials(self, done: Mapping[str, Collection[str]] | None = None) -> Iterator[EvaluationRecord]:
        """Yield what is missing; `done` has the ids that are recorded, by fingerprint."""
        done = done or {}
        cases = iter(self.dataset.cases)
        while group := tuple(itertools.islice(cases, AT_ONCE)):
            for name, run in self.runs.items():
                recorded = done.get(run.settings["fingerprint"], ())
                yield from self._answered(name, run, [case for case in group if case.id not in recorded])

    def _answered(self, name: str, run: Classification, cases: Sequence[Case]) -> Iterator[EvaluationRecord]:
        if not cases:
            return
        answers = (result for result in run.rankings(case.opened() for case in cases) if result.finished)
        for case in cases:
            started = time.monotonic()  # while the reader of this waits, nothing is under way
            result = next(answers)
            seconds = round(time.monotonic() - started, 4)
            yield EvaluationRecord(name, self._record(case, result, seconds, run), result)

    def _record(self, case: Case, result: Ranking | Failure, seconds: float, run: Classification) -> dict[str, Any]:
        truth = self.truth_of(case)
        record = {**result.to_dict(TOP), "id": case.id, "truth": truth}
        if isinstance(result, Failure):
            return record
        record |= {"seconds": seconds, "gflop": significant(run.gflop * result.evaluations, 6)}
        if self.dataset.many:
            return record | {"evidence": evidence(result)}
        places = {place.label: number for number, place in enumerate(result.ranked, 1)}
        record["rank"] = places[truth[0]]
        return record | {"truth_probability": significant(result.ranked[record["rank"] - 1].probability)}

    def _run(self, spec: Spec) -> Classification:
        plan = self.plan
        return Classification(
            self._backbone,
            self.labels,
            plan.templates,
            plan.rules,
            plan.seed,
            reject=self.dataset.many,
            batch=plan.batch,
            compress=spec,
            with_images=plan.views,
            maps=plan.maps and not self.dataset.many,
        )


def evidence(ranking: Ranking) -> dict[str, float | None]:
    """Return by how much each label beats the empty prompt on the same draws."""
    scores = {place.label: place.score for place in ranking.ranked}
    empty = scores.pop("none")
    return {name: significant(scores[name] - empty) for name in sorted(scores)}
