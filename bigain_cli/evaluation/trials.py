"""One record for each picture and spec: all specs see the same pictures and the same draws, in turn.

In: a backbone and a dataset; out: a stream of records that lack nothing a summary needs. Never prints.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bigain_cli.arms import arms_of
from bigain_cli.backbones.base import Backbone
from bigain_cli.classifier import Run
from bigain_cli.compress import Spec
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.dataset import Case, Dataset, refuse_mixture
from bigain_cli.evaluation.ladder import Answer, Answering, Ladder, Single
from bigain_cli.evaluation.specs import compared, place_of
from bigain_cli.labels import LabelSet
from bigain_cli.ranking import Failure, Ranking, significant
from bigain_cli.rules import Rules

AT_ONCE = 16  # pictures before it is the next spec's turn: what slows the machine slows all specs
TOP = 5
OWN = ("compress", "compression", "fingerprint")  # settings in which specs differ


@dataclass(frozen=True)
class Trial:
    """A record with the whole answer that it was made from."""

    spec: str
    record: dict[str, Any]
    result: Ranking | Failure


@dataclass(frozen=True)
class Plan:
    """What is to be compared, and how far to go for a picture."""

    specs: tuple[str, ...]
    rules: Rules
    seed: int = 0
    templates: tuple[str, ...] = ()
    batch: int | None = None
    views: bool = False  # whether answers come with the picture as the model sees it
    maps: bool = False  # and with where in it the evidence lies


class Evaluation:
    """Specs on a dataset."""

    def __init__(
        self, backbone: Backbone, dataset: Dataset, labels: LabelSet, answers: Sequence[str], plan: Plan
    ) -> None:
        refuse_mixture(dataset, plan.rules)
        self._backbone, self._answers = backbone, tuple(answers)
        self.dataset, self.labels, self.plan = dataset, labels, plan
        self.specs: dict[str, Answering] = {}
        self.rungs: dict[str, tuple[Spec, ...]] = {}
        for text, rungs in zip(plan.specs, compared(plan.specs, None, plan.rules), strict=True):
            answering = self._answering(text, rungs)
            name = answering.settings["compress"]
            if name in self.specs:
                raise UsageError(f"-c {text}", f"{name} is given twice", "Keep one of them.")
            self.specs[name], self.rungs[name] = answering, rungs

    def named(self, text: str | None) -> str:
        """Return the name under which a spec is compared; the first one without a text."""
        names = list(self.specs)
        return names[0] if text is None else names[place_of(text, list(self.rungs.values()), names)]

    def prompts(self) -> list[str]:
        """Return for each class the sentence that its label is asked by first."""
        backbone = self._backbone
        arms = arms_of(self.labels, self.plan.templates, False, backbone.vocabulary, backbone.template)
        first = {arm.name: arm.texts[0] for arm in arms}
        return [first[answer] for answer in self._answers]

    def truth_of(self, case: Case) -> list[str]:
        """Return the labels that are right for a picture."""
        return list(dict.fromkeys(self._answers[number] for number in case.truth))

    def marks(self) -> dict[str, str]:
        """Return the specs' names by the fingerprint of their records."""
        return {answering.settings["fingerprint"]: name for name, answering in self.specs.items()}

    def about(self) -> dict[str, Any]:
        """Return what all specs have in common."""
        first = next(iter(self.specs.values())).settings
        public = {key: value for key, value in first.items() if key not in OWN}
        machine = {"device": str(self._backbone.device), "threads": torch.get_num_threads(), "torch": torch.__version__}
        weights = {"weights": self._backbone.identity, "labels": len(self.labels.labels)}
        notes = {name: list(answering.notes) for name, answering in self.specs.items() if answering.notes}
        return {"dataset": self.dataset.name, **public, **weights, **machine, "notes": notes}

    def trials(self, done: Mapping[str, Collection[str]] | None = None) -> Iterator[Trial]:
        """Yield what is missing; `done` has the ids that are recorded, by fingerprint."""
        done = done or {}
        cases = iter(self.dataset.cases)
        while group := tuple(itertools.islice(cases, AT_ONCE)):
            for name, answering in self.specs.items():
                recorded = done.get(answering.settings["fingerprint"], ())
                yield from self._answered(name, answering, [case for case in group if case.id not in recorded])

    def _answered(self, name: str, answering: Answering, cases: Sequence[Case]) -> Iterator[Trial]:
        if not cases:
            return
        answers = iter(answering.answers(case.opened() for case in cases))
        for case in cases:
            started = time.monotonic()  # while the reader of this waits, nothing is under way
            answer = next(answers)
            seconds = round(time.monotonic() - started, 4)
            yield Trial(name, self._record(case, answer, seconds), answer.result)

    def _record(self, case: Case, answer: Answer, seconds: float) -> dict[str, Any]:
        result = answer.result
        truth = self.truth_of(case)
        record = {**result.to_dict(TOP), "id": case.id, "truth": truth}
        if isinstance(result, Failure):
            return record
        record |= {"seconds": seconds, "gflop": significant(answer.gflop, 6)}
        if self.dataset.many:
            return record | {"evidence": evidence(result)}
        places = {place.label: number for number, place in enumerate(result.standings, 1)}
        record["rank"] = places[truth[0]]
        return record | {"truth_probability": significant(result.standings[record["rank"] - 1].probability)}

    def _answering(self, text: str, rungs: tuple[Spec, ...]) -> Answering:
        if len(rungs) == 1:
            return Single(self._run(self.labels, rungs[0], self.plan.rules))
        if self.dataset.many:
            raise UsageError(
                f"-c {text}", "a ladder keeps one winner's rivals, and pictures have several", "Leave it out."
            )
        own = self.plan.rules.for_model(self._backbone.score, self._backbone.draws)
        return Ladder(self._run, self.labels, rungs, own)

    def _run(self, labels: LabelSet, spec: Spec, rules: Rules) -> Run:
        plan = self.plan
        return Run(
            self._backbone,
            labels,
            plan.templates,
            rules,
            plan.seed,
            reject=self.dataset.many,
            batch=plan.batch,
            compress=spec,
            views=plan.views,
            maps=plan.maps and not self.dataset.many,
        )


def evidence(ranking: Ranking) -> dict[str, float | None]:
    """Return by how much each label beats the empty prompt on the same draws."""
    scores = {place.label: place.score for place in ranking.standings}
    empty = scores.pop("none")
    return {name: significant(scores[name] - empty) for name in sorted(scores)}
