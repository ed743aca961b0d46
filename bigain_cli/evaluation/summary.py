"""A comparison of specs from their records; every estimate has an interval, every difference is paired.

In: records by spec; out: a Summary to print, plot or keep. Must not know how records are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bigain_cli.evaluation.accuracy import (
    Accuracy,
    Difference,
    accuracy_of,
    confusion,
    correct,
    difference,
)
from bigain_cli.evaluation.calibration import THRESHOLDS, Record, confidences, reliability
from bigain_cli.evaluation.generated_images import ImageQuality
from bigain_cli.evaluation.multilabel import (
    MultilabelDifference,
    MultilabelPrecision,
    multilabel_difference,
    precision_of,
)
from bigain_cli.evaluation.shortlist_recall import ShortlistRecall, recall_of
from bigain_cli.outputs.text import counted

MOST_SHOWN = 3  # specs in a headline


@dataclass(frozen=True)
class Summary:
    """What was compared, and the results; `accuracies` is empty if no image was classified under all specs."""

    about: Mapping[str, Any]
    against: str
    count: int  # images that all specs answered
    failures: Mapping[str, int]  # by spec
    failed: Mapping[str, str]  # the error message, by image
    accuracies: Mapping[str, Accuracy | MultilabelPrecision]
    differences: Sequence[Difference | MultilabelDifference]  # of every pair, the later spec minus the earlier
    records: Mapping[str, Sequence[Record]]
    names: tuple[str, ...]
    notes: Mapping[str, Sequence[str]]  # by spec: where it compresses less than its name says
    chosen: Mapping[str, Any]  # how the images were chosen
    image_quality: ImageQuality | None = None  # of images generated under the same specs
    min_probability: float | None = None  # below which an answer is `unsure`
    recalls: Sequence[ShortlistRecall] = ()  # of the specs with a shortlist

    def __repr__(self) -> str:
        return f"<Summary of {self.headline}>"

    @property
    def headline(self) -> str:
        """The result in one phrase: how many images, and the accuracy of the first specs."""
        shown = [f"{spec} {found.headline}" for spec, found in self.accuracies.items()]
        failed = [f"{len(self.failed)} failed"]
        more = [f"and {len(shown) - MOST_SHOWN} more specs"] if len(shown) > MOST_SHOWN else []
        shares = [found.headline for found in self.accuracies.values()] if len(shown) == 1 else shown[:MOST_SHOWN]
        found = [f"{counted(self.count + len(self.failed), 'image')}: " + ", ".join([*shares, *more, *failed])]
        if self.image_quality is not None:
            found.append(f"{counted(self.image_quality.about['pictures'], 'image')} generated under each spec")
        return "; ".join(found if self.accuracies or self.failed else found[1:] or ["nothing classified"])

    @property
    def multilabel(self) -> bool:
        """Return whether images may have several right labels."""
        return any(isinstance(accuracy, MultilabelPrecision) for accuracy in self.accuracies.values())

    def to_baseline(self, spec: str) -> Difference | MultilabelDifference | None:
        """Return a spec's difference to the baseline."""
        return next((each for each in self.differences if (each.spec, each.against) == (spec, self.against)), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the document."""
        specs = {
            spec: {**accuracy.to_dict(), "failures": self.failures[spec], **self._details(spec)}
            for spec, accuracy in self.accuracies.items()
        }
        pairs = [each.to_dict() for each in self.differences]
        notes = {spec: list(found) for spec, found in self.notes.items()}
        counts = {"pictures": self.count, "failed": dict(self.failed)}
        asked = {} if self.min_probability is None else {"min_probability": self.min_probability}
        about = {**self.about, "notes": notes, "chosen": dict(self.chosen), **asked, **counts, "against": self.against}
        found = {**about, "specs": specs, "differences": pairs}
        if self.recalls:
            found["shortlists"] = [each.to_dict() for each in self.recalls]
        return found if self.image_quality is None else {**found, "generated": self.image_quality.to_dict()}

    def confusion(self, spec: str) -> list[list[int]]:
        """Count a spec's answers by true label."""
        return confusion(self.records[spec], self.names)

    def _details(self, spec: str) -> dict[str, Any]:
        if self.multilabel:
            return {}
        records = self.records[spec]
        return {
            "labels": list(self.names),
            "confusion": self.confusion(spec),
            "reliability": reliability(correct(records), confidences(records)),
        }


def summarise(
    records: Mapping[str, Mapping[str, Record]],
    names: Sequence[str],
    against: str,
    about: Mapping[str, Any],
    notes: Mapping[str, Sequence[str]] | None = None,
    chosen: Mapping[str, Any] | None = None,
    image_quality: ImageQuality | None = None,
    min_probability: float | None = None,
    with_all_labels: Mapping[str, str] | None = None,
) -> Summary:
    """Compare specs on the images that all of them answered; `records` are by spec, then by id.

    `with_all_labels` names for each spec with a shortlist the same one without.
    """
    good = {spec: {id: r for id, r in found.items() if "error" not in r} for spec, found in records.items()}
    common = sorted(set.intersection(*(set(found) for found in good.values())))
    kept = {spec: [found[id] for id in common] for spec, found in good.items()}
    failures = {spec: len(found) - len(good[spec]) for spec, found in records.items()}
    failed = {id: r["error"]["message"] for found in records.values() for id, r in found.items() if "error" in r}
    accuracies: dict[str, Accuracy | MultilabelPrecision] = {}
    pairs: list[Difference | MultilabelDifference] = []
    if common:
        thresholds = [*THRESHOLDS, *([] if min_probability is None else [min_probability])]
        multilabel = "evidence" in kept[against][0]
        accuracies = {
            spec: precision_of(found) if multilabel else accuracy_of(found, len(names), thresholds)
            for spec, found in kept.items()
        }
        pairs = [_difference(one, other, kept, accuracies) for one, other in _pairs(list(kept), against)]
    shortlists = (with_all_labels or {}).items() if common else ()
    recalls = [recall_of(short, whole, kept, names) for short, whole in shortlists]
    results = (len(common), failures, failed, accuracies, pairs, kept)
    more = (notes or {}, chosen or {}, image_quality, min_probability, recalls)
    return Summary(about, against, *results, tuple(names), *more)


def _pairs(specs: Sequence[str], against: str) -> Iterator[tuple[str, str]]:
    """Pair every spec with the baseline, then with the ones before it."""
    order = [against, *(spec for spec in specs if spec != against)]
    return ((one, other) for number, other in enumerate(order) for one in order[number + 1 :])


def _difference(
    one: str, other: str, kept: Mapping[str, Sequence[Record]], accuracies: Mapping[str, Accuracy | MultilabelPrecision]
) -> Difference | MultilabelDifference:
    first, second = accuracies[one], accuracies[other]
    if isinstance(first, MultilabelPrecision) and isinstance(second, MultilabelPrecision):
        return multilabel_difference(one, other, first, second)
    same = np.array([a["label"] == b["label"] for a, b in zip(kept[one], kept[other], strict=True)])
    return difference(one, other, correct(kept[one]), correct(kept[other]), same)
