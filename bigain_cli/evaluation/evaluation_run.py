"""`evaluate`: a backbone, a dataset and specs in, a stream of records and a summary out.

Records may be kept in a file, from which a later run continues. Never prints, never exits.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.classification.label_prompts import NONE
from bigain_cli.classification.model_shortlist import ModelShortlist
from bigain_cli.classification.ranking import check_min_probability, with_answer
from bigain_cli.classification.shortlists import Shortlist
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.datasets.dataset import Dataset, choose, labels_for
from bigain_cli.datasets.opening import open_dataset
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.evaluator import EvaluationOptions, EvaluationRecord, Evaluator, check_multilabel
from bigain_cli.evaluation.generated_image_options import GeneratedImagesOptions, check_generation
from bigain_cli.evaluation.generated_images import ImageGeneration, ImageQuality, Progress
from bigain_cli.evaluation.records import ExpectedRecords, RecordFile, fields_for_summary
from bigain_cli.evaluation.summary import Summary, summarise
from bigain_cli.images import sha256_of
from bigain_cli.labels import LabelSet
from bigain_cli.outputs.plotting import can_map
from bigain_cli.outputs.shield import SHIELD
from bigain_cli.outputs.text import counted
from bigain_cli.shortlist.choice import MODEL, OFF, read_choice

Loader = Callable[[Dataset, LabelSet], Backbone]  # from the chosen images and the labels


def evaluate(
    backbone: Backbone | str | Loader,
    dataset: str | Dataset,
    specs: str | Sequence[str] = ("none",),
    *,
    against: str | None = None,
    labels: str | None = None,
    templates: Sequence[str] = (),
    limit: int | None = None,
    per_class: int | None = None,
    rules: StoppingRules | None = None,
    seed: int = 0,
    batch: int | None = None,
    records: str | None = None,
    resume: bool = False,
    replace: bool = False,
    generate: GeneratedImagesOptions | None = None,
    heatmaps: bool = False,
    min_probability: float | None = None,
    shortlist: str | None = None,
    tree: str | None = None,
    device: str = "auto",
) -> EvaluationRun:
    """Classify every chosen image under every spec; without specs, under none and the one the model recommends.

    Iterate over the result for records as they are made, or call its `summary()` at once. Differences are to the spec
    `against`, or to the first one. Records are kept in the file `records`, and `resume` continues it. With `generate`,
    images are also generated under every spec and compared with those of the whole dataset; with `limit=0` nothing
    else is done. With `heatmaps`, results have the image as the model sees it, and heatmaps. The summary also counts
    answers with at least `min_probability`. A `shortlist` or a `tree`, as of `classify`, is compared with all labels;
    its model runs on `device`. A backbone's name is loaded, or a function called with images and labels, at the end.
    """
    file, rules = RecordFile(records, resume, replace), rules or StoppingRules()
    whole = open_dataset(dataset) if isinstance(dataset, str) else dataset
    check_generation(generate, whole)
    chosen = choose(whole, limit, per_class, seed)
    check_multilabel(chosen, rules, min_probability)
    label_set, label_of_class = labels_for(chosen, labels)
    check_min_probability(min_probability, [label.name for label in label_set.labels])
    file.hold()
    listed = shortlist_before(shortlist, tree, chosen, label_set, templates, device)
    backbone = backbone(chosen, label_set) if callable(backbone) else as_backbone(backbone)
    specs = (specs,) if isinstance(specs, str) else tuple(specs) or tuple(dict.fromkeys(("none", backbone.compress)))
    maps = heatmaps and can_map(rules.score or backbone.score)
    more = (tuple(templates), batch, heatmaps, maps, min_probability, listed, tree)
    options = EvaluationOptions(specs, rules, seed, *more)
    evaluator = Evaluator(backbone, chosen, label_set, label_of_class, options)
    generation = _generation(evaluator, backbone, whole, generate, seed, batch)
    choice = {"limit": limit, "per_class": per_class, "seed": seed}
    return EvaluationRun(evaluator, evaluator.spec_name(against), file, generation, choice, min_probability)


def _generation(
    evaluator: Evaluator,
    backbone: Backbone,
    dataset: Dataset,
    options: GeneratedImagesOptions | None,
    seed: int,
    batch: int | None,
) -> ImageGeneration | None:
    """Return the generation of images under every spec, if it is wanted."""
    if options is None:
        return None
    names = {name: str(spec) for name, spec in evaluator.plain_specs.items()}
    return ImageGeneration(backbone, dataset, evaluator.prompts(), names, options, seed, batch)


def shortlist_before(
    shortlist: str | None,
    tree: str | None,
    dataset: Dataset,
    labels: LabelSet,
    templates: Sequence[str],
    device: str = "auto",
) -> str | Shortlist | None:
    """Return the shortlist; a two-tower model is shown all images before the network is loaded."""
    choice = read_choice(shortlist, tree)
    if choice.kind not in (None, OFF) and dataset.multilabel:
        why = "several labels of an image may be right, and all are compared with the empty prompt"
        raise UsageError(f"--shortlist {choice.name}", why, "Leave it out.")
    if choice.kind != MODEL:
        return shortlist
    found = ModelShortlist(choice, labels, templates, device=device)
    found.prepare_all(case.opened() for case in dataset.cases)
    return found


class EvaluationRun:
    """An evaluation in progress: `records` starts with those of an earlier run, `images` yields progress."""

    def __init__(
        self,
        evaluator: Evaluator,
        against: str,
        file: RecordFile,
        generation: ImageGeneration | None,
        choice: Mapping[str, Any],
        min_probability: float | None,
    ) -> None:
        self.evaluator, self._against, self._file = evaluator, against, file
        self._min_probability = min_probability
        self._generation, self._choice = generation, choice
        truths = {case.id: evaluator.truth_of(case) for case in evaluator.dataset.cases}
        sources = {case.id: case.source for case in evaluator.dataset.cases if case.source is not None}
        sha256 = cache(lambda id: sha256_of(sources[id]) if id in sources else None)
        multilabel = evaluator.dataset.multilabel
        labels = frozenset((*self.labels, *([NONE] if multilabel else ())))
        self._expected = ExpectedRecords(evaluator.names_by_fingerprint(), truths, labels, multilabel, sha256)
        self._records, self.found = file.read(self._expected)
        self._image_quality: ImageQuality | None = None
        self.records: Iterator[EvaluationRecord] = self._classify()
        self.images: Iterator[Progress] = self._generate()

    def __iter__(self) -> Iterator[EvaluationRecord]:
        return self.records

    @property
    def dataset(self) -> Dataset:
        """Return the chosen images."""
        return self.evaluator.dataset

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of the labels."""
        return tuple(label.name for label in self.evaluator.labels.labels)

    @property
    def specs(self) -> tuple[str, ...]:
        """Return the full names of the specs."""
        return tuple(self.evaluator.specs)

    @property
    def plan(self) -> str:
        """Return what the run takes, as a phrase."""
        return self.evaluator.plan

    @property
    def generation_plan(self) -> str:
        """Return what generating images takes, as a phrase."""
        return "" if self._generation is None else self._generation.plan

    @property
    def total(self) -> int:
        """Return how many records there will be, those of an earlier run included."""
        return len(self.dataset.cases) * len(self.specs)

    @property
    def recorded(self) -> int:
        """Return how many records there are."""
        return sum(map(len, self._records.values()))

    @property
    def finished_images(self) -> int:
        """Return the largest limit whose images are all classified under all specs."""
        finished = (all(case.id in of_spec for of_spec in self._records.values()) for case in self.dataset.cases)
        return sum(itertools.takewhile(bool, finished))

    def notes_on_earlier_records(self) -> Iterator[str]:
        """Yield what a user should know about the records of an earlier run."""
        if self.found.repaired:
            yield "the last line was incomplete; its image is classified again"
        if self.found.replaced:
            records = counted(self.found.replaced, "record")
            yield f"{records} of images that changed since then; classified again, and the new record counts"
        if self.found.others:
            yield f"{counted(self.found.others, 'record')} of other settings or images kept"
        if self.found.unknown:
            here = next((case.id for case in self.dataset.cases), "none")
            why = f"images are called {self.found.unknown} there and {here} here"
            yield f"{why}; if they are the same, stop and name the dataset as before"

    def summary(self, finish: bool = True) -> Summary:
        """Finish the run, unless `finish` is off, and return a summary of the records so far."""
        if finish:
            deque(self.records, maxlen=0)
            deque(self.images, maxlen=0)
        about, notes = self.evaluator.about(), self.evaluator.notes()
        return summarise(
            self._records, self.labels, self._against, about, notes, self._choice, self._image_quality,
            self._min_probability, self.evaluator.with_all_labels,
        )  # fmt: skip

    def _classify(self) -> Iterator[EvaluationRecord]:
        """Yield the records of an earlier run, then the missing ones, each once it is in the file."""
        for spec, record in self._file.earlier(self._expected):
            yield EvaluationRecord(spec, with_answer(record, self._min_probability))
        done = {spec: frozenset(records) for spec, records in self._records.items()}
        with self._file.writer() as write:
            for made in self.evaluator.records(done):
                with SHIELD:  # a signal to the command waits until what is in the file is counted, too
                    write(made.record)
                    self._records[made.spec][made.record["id"]] = fields_for_summary(made.record)
                yield made

    def _generate(self) -> Iterator[Progress]:
        """Generate and compare images, if wanted."""
        for event in self._generation.events(self._against) if self._generation is not None else ():
            if isinstance(event, Progress):
                yield event
            else:
                self._image_quality = event
