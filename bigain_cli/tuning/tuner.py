"""`tune`: a backbone and labelled images in; what each part of a profile gains, and the profile, out.

The network only records errors; everything else is arithmetic on them. Never prints, never exits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.loading import as_backbone
from bigain_cli.classification.error_tables import ErrorRecorder, ErrorTable, RecordingOptions
from bigain_cli.classification.label_prompts import digest_of_prompts, label_prompts
from bigain_cli.classification.profiles import Profile
from bigain_cli.classification.ranking import significant
from bigain_cli.datasets.dataset import Case, Dataset, by_class, choose, labels_for
from bigain_cli.datasets.opening import open_dataset
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.array_cache import ArrayCache
from bigain_cli.images.prefetch import LoadedImage, read_or_error
from bigain_cli.labels import LabelSet
from bigain_cli.tuning.cross_validation import FOLDS, CrossValidation, cross_validated
from bigain_cli.tuning.fitting import Fitted, describe, fit
from bigain_cli.tuning.options import DRAWS, LEAST_PER_CLASS, TuneOptions
from bigain_cli.tuning.recorded_errors import OWN, TUNABLE, Array, RecordedErrors, errors_of_labels, prompt_groups

Loader = Callable[[Dataset, LabelSet], Backbone]  # from the chosen images and the labels
MOST_NUMBERS = 1 << 28  # in the table of all errors


@dataclass(frozen=True)
class Tuning:
    """What tuning found; there is no profile if it was refused."""

    validation: CrossValidation
    profile: Profile | None
    images: int
    skipped: tuple[str, ...]  # why images were left out
    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        found = self.validation
        return {
            "images": self.images,
            "skipped": list(self.skipped),
            "parts": [step.to_dict() for step in found.steps],
            "before": found.before.to_dict(),
            "after": found.after.to_dict(),
            "accuracy_gain": found.difference("right").to_dict(),
            "log_loss_change": found.difference("losses").to_dict(),
            "refused": found.why_refused or None,
            "settings": self.settings,
        }


def tune(backbone: Backbone | str | Loader, dataset: str | Dataset, options: TuneOptions | None = None) -> TuningRun:
    """Tune a profile on labelled images: iterate over the result for progress, or call its `tuning()` at once.

    A name is loaded once everything else is checked; a function in its place is called then.
    """
    options = options or TuneOptions()
    whole = open_dataset(dataset) if isinstance(dataset, str) else dataset
    if whole.multilabel:
        raise UsageError(f"dataset {whole.name}", "its images have several classes", "Name one with one class each.")
    chosen = choose(whole, None, options.per_class, options.seed)
    for number, cases in sorted(by_class(chosen.cases).items()):
        if len(cases) < LEAST_PER_CLASS:
            why = f"has {len(cases)} images; tuning takes {LEAST_PER_CLASS} of each class at least"
            raise UsageError(f"class {whole.classes[number]!r} of {whole.name}", why, "Add some.")
    labels, label_of_class = labels_for(chosen, options.labels)
    loaded = backbone(chosen, labels) if callable(backbone) else as_backbone(backbone)
    return TuningRun(loaded, chosen, labels, label_of_class, options)


class TuningRun:
    """A tuning in progress: iterating records errors, and yields how many images are done."""

    def __init__(
        self,
        backbone: Backbone,
        dataset: Dataset,
        labels: LabelSet,
        label_of_class: Sequence[str],
        options: TuneOptions,
    ) -> None:
        self.backbone, self.dataset, self._options = backbone, dataset, options
        template_sets: list[tuple[str, ...]] = [(), *[(template,) for template in options.templates]]
        ways = [
            label_prompts(labels, templates, False, backbone.vocabulary, backbone.template)
            for templates in template_sets
        ]
        self.labels = tuple(label.name for label in ways[0])
        self._number = {number: self.labels.index(name) for number, name in enumerate(label_of_class)}
        self._prompts, self._groups = prompt_groups([[label.texts for label in way] for way in ways])
        self._digest = digest_of_prompts(self._prompts)
        self.draws = options.draws or backbone.draws or DRAWS
        recording = RecordingOptions(self.draws, options.seed, options.compress, options.batch)
        self._recorder = ErrorRecorder(backbone, recording)
        self._cache = ArrayCache(options.keep, options.replace)
        self._rows: list[tuple[Array, Array, int, str]] = []  # errors, times, label, digest
        self.skipped: list[str] = []
        if len(ways) * len(dataset.cases) * self.draws * len(self.labels) > MOST_NUMBERS:
            hint = "Take fewer --per-class, --draws or templates."
            raise UsageError("tune", "the table of all errors would not fit into memory", hint)

    @property
    def total(self) -> int:
        """The number of images."""
        return len(self.dataset.cases)

    @property
    def evaluations(self) -> int:
        """The evaluations of one image."""
        return self.draws * len(self._prompts)

    def __iter__(self) -> Iterator[int]:
        while (done := len(self._rows) + len(self.skipped)) < self.total:
            self._add(self.dataset.cases[done])
            yield done + 1

    def tuning(self) -> Tuning:
        """Record what is not recorded yet, and tune."""
        for _ in self:
            pass
        data, backbone = self._data(), self.backbone
        score = backbone.score if backbone.score in TUNABLE else TUNABLE[0]
        baseline = Fitted(score, backbone.temperature if score == backbone.score else None, variant=OWN)
        found = cross_validated(data, baseline, self._options.seed)
        settings = {**self._recorder.settings([list(self.labels), self._prompts]), "dataset": self.dataset.name}
        profile = None
        if not found.why_refused:
            fitted = fit(found.choice, baseline, data, np.arange(len(data)))
            profile = self._profile(fitted, found, data, settings)
        return Tuning(found, profile, len(data), tuple(self.skipped), settings)

    def _add(self, case: Case) -> None:
        """Record one image, or keep why it is left out."""
        item = read_or_error(case.opened())
        if not isinstance(item, LoadedImage):
            self.skipped.append(str(item.error))
            return
        digest, label = item.digest.hex(), self._number[case.truth[0]]
        same = [row for row in self._rows if row[3] == digest]
        if same:
            twice = "twice" if same[0][2] == label else f"as {self.labels[same[0][2]]}, too"
            self.skipped.append(f"{case.id}: the same image is there {twice}")
            return
        kept = self._recorded(item)
        if isinstance(kept, str):
            self.skipped.append(kept)
        else:
            self._rows.append((*kept, label, digest))

    def _recorded(self, image: LoadedImage) -> tuple[Array, Array] | str:
        """Return the errors and times of an image, from the cache if it is there; or why there are none."""
        name = f"errors-{image.digest.hex()[:32]}-{self._digest}"
        settings = {**self._recorder.settings(self._prompts), "pixels": image.digest.hex()}
        arrays = self._cache.read(name, settings)
        if arrays is None:
            (table,) = self._recorder.tables([(image.id, image.image)], self._prompts)
            if not isinstance(table, ErrorTable):
                return str(table.error)
            arrays = {"errors": table.errors, "times": table.times}
            self._cache.write(name, settings, arrays)
        return errors_of_labels(arrays["errors"], self._groups), arrays["times"]

    def _data(self) -> RecordedErrors:
        counts = np.bincount([row[2] for row in self._rows], minlength=len(self.labels))
        known = sorted(set(self._number.values()))
        if len(self._rows) < FOLDS or counts[known].min() < 2:
            why = f"too few images could be used ({len(self._rows)} of {self.total})"
            hint = f"The first: {self.skipped[0]}" if self.skipped else ""
            raise UsageError(f"dataset {self.dataset.name}", why, hint)
        errors, times, truth, digests = zip(*self._rows, strict=True)
        table = np.stack(errors, axis=1)
        templates = self._options.templates
        return RecordedErrors(table, np.stack(times), np.array(truth), self.labels, templates, tuple(digests))

    def _profile(
        self, fitted: Fitted, found: CrossValidation, data: RecordedErrors, settings: dict[str, Any]
    ) -> Profile:
        about = {
            "images": len(data),
            "draws": self.draws,
            "seed": self._options.seed,
            "compress": settings["compress"],
            "version": settings["version"],
            "parts": [step.part for step in found.steps if step.kept],
            "before": found.before.to_dict(),
            "after": found.after.to_dict(),
            "by_chance": significant(math.log(len(self.labels))),
        }
        entries: dict[str, Any] = describe(fitted, data, self.labels)
        model = self.backbone
        return Profile(
            model.identity, **entries, model=model.name, labels=self.labels, images=data.digests, about=about
        )
