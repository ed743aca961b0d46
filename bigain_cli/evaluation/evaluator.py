"""One record for each image and spec: every spec classifies the same images with the same noise draws.

In: a backbone, a dataset, labels; out: a stream of records with everything a summary needs. Never prints.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bigain_cli.backbones.base import Backbone
from bigain_cli.classification.classifier import Classification
from bigain_cli.classification.label_prompts import label_prompts
from bigain_cli.classification.ranking import Failure, Ranking, significant
from bigain_cli.classification.shortlists import Shortlist
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.compress import Spec
from bigain_cli.compress.spec import index_of_spec, parse_specs
from bigain_cli.datasets.dataset import Case, Dataset
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.calibration import squared_error
from bigain_cli.evaluation.turns import turns
from bigain_cli.images import sha256_of
from bigain_cli.labels import LabelSet
from bigain_cli.outputs.text import counted
from bigain_cli.shortlist.choice import OFF, is_measured

TOP = 5
SPEC_SETTINGS = ("compress", "compression", "fingerprint")  # settings in which specs differ


@dataclass(frozen=True)
class EvaluationRecord:
    """A record and the result that it was made from; the result is missing if an earlier run made the record."""

    spec: str
    record: dict[str, Any]
    result: Ranking | Failure | None = None

    @property
    def earlier(self) -> bool:
        """Return whether an earlier run made it."""
        return self.result is None


@dataclass(frozen=True)
class EvaluationOptions:
    """The specs to compare, and how to classify under each of them."""

    specs: tuple[str, ...]
    rules: StoppingRules
    seed: int = 0
    templates: tuple[str, ...] = ()
    batch: int | None = None
    images: bool = False  # whether results contain the image as the model sees it
    heatmaps: bool = False  # and heatmaps of the evidence
    min_probability: float | None = None  # below which an answer is "unsure"
    shortlist: str | Shortlist | None = None  # if one is given, every spec is evaluated without it, too
    tree: str | None = None


class Evaluator:
    """Classifies a dataset's images under every spec."""

    def __init__(
        self,
        backbone: Backbone,
        dataset: Dataset,
        labels: LabelSet,
        label_of_class: Sequence[str],
        options: EvaluationOptions,
    ) -> None:
        check_multilabel(dataset, options.rules)
        self.backbone, self._label_of_class, self._options = backbone, label_of_class, options
        self.dataset, self.labels = dataset, labels
        self.specs: dict[str, Spec] = {}
        self.with_all_labels: dict[str, str] = {}  # of a spec with a shortlist, its name without
        self._runs: dict[str, Classification] = {}
        for text, spec in zip(options.specs, parse_specs(options.specs), strict=True):
            run = self._classification(spec, OFF if self._measures_shortlist else options.shortlist)
            name = run.settings["compress"]
            if name in self.specs:
                raise UsageError(f"-c {text}", f"{name} is given twice", "Keep one of them.")
            self.specs[name], self._runs[name] = spec, run
            if self._measures_shortlist:
                run = self._classification(spec, options.shortlist)
                short = f"{name}, {run.settings['shortlist'].rpartition('/')[2]}"
                self.specs[short], self._runs[short], self.with_all_labels[short] = spec, run, name

    @property
    def _measures_shortlist(self) -> bool:
        """Whether a shortlist is asked for, so that it is compared with the race of all labels."""
        return is_measured(self._options.shortlist, self._options.tree)

    @property
    def plain_specs(self) -> dict[str, Spec]:
        """The specs once each, for what has no labels."""
        return {name: spec for name, spec in self.specs.items() if name not in self.with_all_labels}

    @property
    def plan(self) -> str:
        """What a run takes, as a phrase."""
        run = next(iter(self._runs.values()))
        specs = f" × {len(self.specs)} specs" if len(self.specs) > 1 else ""
        most = max(run.most_evaluations for run in self._runs.values())
        images = counted(len(self.dataset.cases), "image")
        return f"{images}{specs} × at most {counted(most, 'evaluation')} on {run.machine}"

    def spec_name(self, text: str | None) -> str:
        """Return the full name of a spec; that of the first spec if there is no text."""
        names = list(self.plain_specs)
        return names[0] if text is None else names[index_of_spec(text, list(self.plain_specs.values()), names)]

    def prompts(self) -> list[str]:
        """Return the first prompt of each class's label."""
        backbone = self.backbone
        found = label_prompts(self.labels, self._options.templates, False, backbone.vocabulary, backbone.template)
        first = {label.name: label.texts[0] for label in found}
        return [first[name] for name in self._label_of_class]

    def truth_of(self, case: Case) -> list[str]:
        """Return the right labels of an image."""
        return list(dict.fromkeys(self._label_of_class[number] for number in case.truth))

    def names_by_fingerprint(self) -> dict[str, str]:
        """Return the specs' names by the fingerprint of their records."""
        return {run.settings["fingerprint"]: name for name, run in self._runs.items()}

    def settings_of(self, name: str) -> dict[str, Any]:
        """Return the settings of a spec's records."""
        return self._runs[name].settings

    @property
    def batches(self) -> list[int]:
        """The batch size of each spec."""
        return [run.batch for run in self._runs.values()]

    def about(self) -> dict[str, Any]:
        """Return the settings that all specs share, and the machine."""
        first = next(iter(self._runs.values())).settings
        own = (*SPEC_SETTINGS, "shortlist") if self._measures_shortlist else SPEC_SETTINGS
        public = {key: value for key, value in first.items() if key not in own}
        machine = {"device": str(self.backbone.device), "threads": torch.get_num_threads(), "torch": torch.__version__}
        weights = {"weights": self.backbone.identity, "labels": len(self.labels.labels)}
        return {"dataset": self.dataset.name, **public, **weights, **machine}

    def notes(self) -> dict[str, tuple[str, ...]]:
        """Return where specs compress less than their names say."""
        notes = {name: run.report.notes if run.report is not None else () for name, run in self._runs.items()}
        return {name: found for name, found in notes.items() if found}

    def records(self, done: Mapping[str, Collection[str]] | None = None) -> Iterator[EvaluationRecord]:
        """Yield the records that are missing; `done` has the recorded ids, by spec."""
        done = done or {}
        for group in turns(self.dataset.cases):
            for name in self._runs:
                recorded = done.get(name, ())
                yield from self.under(name, [case for case in group if case.id not in recorded])

    def under(self, name: str, cases: Sequence[Case]) -> Iterator[EvaluationRecord]:
        """Yield the records of some images under the spec of this name."""
        if not cases:
            return
        results = self._runs[name].rankings((case.opened() for case in cases), only_final=True)
        for case in cases:
            result = self._asked(next(results))
            yield EvaluationRecord(name, self._record(case, result), result)

    def _asked(self, result: Ranking | Failure) -> Ranking | Failure:
        """Return a result whose answer is "unsure" below the least probability, which is not part of the fingerprint.

        A summary counts by probability, so that records can be continued with another one.
        """
        if self._options.min_probability is None:
            return result
        return replace(result, settings={**result.settings, "min_probability": self._options.min_probability})

    def _record(self, case: Case, result: Ranking | Failure) -> dict[str, Any]:
        truth = self.truth_of(case)
        record = {**result.to_dict(TOP), "id": case.id, "truth": truth}
        if case.source is not None and case.source.data is not None:  # of a dataset in one file
            record["sha256"] = sha256_of(case.source)
        if isinstance(result, Failure):
            return record
        record |= {"seconds": round(result.seconds or 0.0, 4), "gflop": significant(result.gflop, 6)}
        if self.dataset.multilabel:
            return record | {"evidence": evidence(result)}
        if result.not_asked is not None:
            asked = {each.label for each in result.ranked}
            record["asked_labels"] = [number for number, label in enumerate(self.labels.labels) if label.name in asked]
        return record | place_of(truth[0], result)

    def _classification(self, spec: Spec, shortlist: str | Shortlist | None) -> Classification:
        options = self._options
        return Classification(
            self.backbone,
            self.labels,
            options.templates,
            options.rules,
            options.seed,
            reject=self.dataset.multilabel,
            batch=options.batch,
            timing=True,
            compress=spec,
            with_images=options.images,
            maps=options.heatmaps and not self.dataset.multilabel and options.rules.profile is None,
            excluded=() if options.rules.profile is None else options.rules.profile.images,
            shortlist=shortlist,
            tree=None if shortlist == OFF else options.tree,
        )


def place_of(truth: str, ranking: Ranking) -> dict[str, float | None]:
    """Return the rank and the probability of the true label, and the squared error of all probabilities.

    Labels that were not asked come after all that were, and share the remainder evenly.
    """
    others = ranking.not_asked or 0
    each = ranking.remainder / others if others else 0.0
    rank, probability = len(ranking.ranked) + 1, each
    for number, found in enumerate(ranking.ranked, 1):
        if found.label == truth:
            rank, probability = number, found.probability
    brier = squared_error([*(found.probability for found in ranking.ranked), *[each] * others], probability)
    return {"rank": rank, "truth_probability": significant(probability), "brier": significant(brier)}


def check_multilabel(dataset: Dataset, rules: StoppingRules, min_probability: float | None = None) -> None:
    """Refuse a multilabel dataset where labels may get different draws, or where no image has a label."""
    if not dataset.multilabel:
        return
    if min_probability is not None:
        why = "images of this dataset have several labels, and probabilities sum to one over all of them"
        raise UsageError("--min-probability", why, "Leave it out.")
    if rules.schedule != "fixed":
        why = "scores of several right labels compare only if all labels take all draws"
        raise UsageError(f"--schedule {rules.schedule}", why, "Use --schedule fixed.")
    if not any(case.truth for case in dataset.cases):
        raise UsageError(f"dataset {dataset.name}", "no chosen image has a label", "Choose more, or another --seed.")


def evidence(ranking: Ranking) -> dict[str, float | None]:
    """Return each label's score minus that of the empty prompt, on the same draws."""
    scores = {ranked.label: ranked.score for ranked in ranking.ranked}
    empty = scores.pop("none")
    return {name: significant(scores[name] - empty) for name in sorted(scores)}
