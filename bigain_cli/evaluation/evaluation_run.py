"""`evaluate`: a backbone, a dataset and specs in, a stream of records and a summary out.

Records may be kept in a file and continued from it. Never prints, never exits.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.datasets.dataset import Dataset
from bigain_cli.evaluation.evaluator import EvaluationOptions, EvaluationRecord, Evaluator
from bigain_cli.evaluation.generated_images import ImageGeneration, ImageQuality, Progress
from bigain_cli.evaluation.generated_options import GeneratedImagesOptions
from bigain_cli.evaluation.inputs import evaluation_inputs
from bigain_cli.evaluation.records import Expected, RecordFile, needed
from bigain_cli.evaluation.summary import Summary, summarise
from bigain_cli.outputs.plotting import can_map


def evaluate(
    backbone: Backbone | str,
    dataset: str | Dataset,
    specs: Sequence[str] = ("none",),
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
) -> EvaluationRun:
    """Classify every chosen image under every spec; without specs, under none and what the model recommends.

    Iterate over the result for records as they come, or ask at once for its `summary()`, in which differences are to
    `against`, or to the first spec. Records are kept in the file `records`, and `resume` continues those that are
    there. With `generate`, images are generated under every spec, too, and compared with those of the whole dataset;
    with `limit=0` nothing else is done. With `heatmaps`, results have the image as the model sees it, and heatmaps.
    """
    file = RecordFile(records, resume, replace)
    rules = rules or StoppingRules()
    chosen = {"limit": limit, "per_class": per_class, "seed": seed}
    inputs = evaluation_inputs(
        dataset, labels=labels, limit=limit, per_class=per_class, seed=seed, rules=rules, generate=generate
    )
    backbone = as_backbone(backbone)  # a name is loaded once everything else is checked
    specs = tuple(specs) or tuple(dict.fromkeys(("none", backbone.compress)))
    maps = heatmaps and can_map(rules.score or backbone.score)
    plan = EvaluationOptions(specs, rules, seed, tuple(templates), batch, heatmaps, maps)
    evaluation = Evaluator(backbone, inputs.chosen, inputs.labels, inputs.label_of_class, plan)
    baseline = evaluation.named(against)
    image_generation = None
    if generate is not None:
        written = {name: str(spec) for name, spec in evaluation.specs.items()}
        image_generation = ImageGeneration(backbone, inputs.whole, evaluation.prompts(), written, generate, seed, batch)
    return EvaluationRun(evaluation, baseline, file, image_generation, chosen)


class EvaluationRun:
    """An evaluation under way: `records` first yields those of an earlier run, `images` how far generating has come."""

    def __init__(
        self,
        evaluation: Evaluator,
        against: str,
        file: RecordFile,
        image_generation: ImageGeneration | None,
        chosen: Mapping[str, Any],
    ) -> None:
        self._evaluation, self._against, self._chosen = evaluation, against, chosen
        self._file, self._image_generation = file, image_generation
        truths = {case.id: evaluation.truth_of(case) for case in evaluation.dataset.cases}
        self._expected = Expected(evaluation.marks(), truths)
        self._answers, self.found = file.read(self._expected)
        self._image_quality: ImageQuality | None = None
        self.records: Iterator[EvaluationRecord] = self._classified()
        self.images: Iterator[Progress] = self._generated()

    def __iter__(self) -> Iterator[EvaluationRecord]:
        return self.records

    @property
    def dataset(self) -> Dataset:
        """Return the chosen images."""
        return self._evaluation.dataset

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of the labels."""
        return tuple(label.name for label in self._evaluation.labels.labels)

    @property
    def specs(self) -> tuple[str, ...]:
        """Return the specs, as the network takes them."""
        return tuple(self._evaluation.specs)

    @property
    def total(self) -> int:
        """Return how many records there will be, those of an earlier run included."""
        return len(self.dataset.cases) * len(self.specs)

    @property
    def recorded(self) -> int:
        """Return how many records there are."""
        return sum(map(len, self._answers.values()))

    @property
    def finished_images(self) -> int:
        """Return how many of the first images all specs have classified: the largest limit that is complete."""
        finished = (all(case.id in of_spec for of_spec in self._answers.values()) for case in self.dataset.cases)
        return sum(itertools.takewhile(bool, finished))

    def summary(self, finish: bool = True) -> Summary:
        """Do what is left, unless `finish` is off, and sum up what there is."""
        if finish:
            deque(self.records, maxlen=0)
            deque(self.images, maxlen=0)
        about, notes = self._evaluation.about(), self._evaluation.notes()
        return summarise(self._answers, self.labels, self._against, about, notes, self._chosen, self._image_quality)

    def _classified(self) -> Iterator[EvaluationRecord]:
        """Yield the records of an earlier run, then the missing ones, each once it is in the file."""
        for spec, record in self._file.earlier(self._expected):
            yield EvaluationRecord(spec, record)
        done = {mark: frozenset(self._answers[spec]) for mark, spec in self._expected.specs.items()}
        with self._file.writer() as write:
            for trial in self._evaluation.trials(done):
                write(trial.record)
                self._answers[trial.spec][trial.record["id"]] = needed(trial.record)
                yield trial

    def _generated(self) -> Iterator[Progress]:
        """Generate and compare images, if wanted."""
        for event in self._image_generation.events(self._against) if self._image_generation is not None else ():
            if isinstance(event, Progress):
                yield event
            else:
                self._image_quality = event
