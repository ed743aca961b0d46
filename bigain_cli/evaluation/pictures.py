"""The pictures that specs leave: drawn class by class from the same seeds, compared with real ones of these classes.

In: a backbone, a dataset, specs; out: progress, then a Gallery. Must not know how pictures are classified.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from bigain_cli.backbones.base import Backbone
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.dataset import Case, Dataset
from bigain_cli.evaluation.drawing import Drawing
from bigain_cli.evaluation.selection import shuffled
from bigain_cli.evaluation.store import Arrays, Store
from bigain_cli.outputs.pictures import png, tiled
from bigain_cli.quality.comparison import Quality, compare_features
from bigain_cli.quality.features import Rows, load_feature
from bigain_cli.reader import Picture, prepare
from bigain_cli.registry import MEASURES
from bigain_cli.residuals import automatic
from bigain_cli.sampler.generation import Generation, Sample, Step

APART = 1_000_000  # between the first seeds of two classes
SHOWN = 10  # pictures of each class in a grid


@dataclass(frozen=True)
class Progress:
    """So many of the pictures that were not kept from an earlier run are drawn."""

    done: float
    of: int


@dataclass(frozen=True)
class Shown:
    """What came of one spec."""

    quality: Quality
    seconds: float  # a picture, median over classes


@dataclass(frozen=True)
class Gallery:
    """What came of all; `other` compares real pictures with the same real ones, as far as there are more of them."""

    about: Mapping[str, Any]
    against: str
    shown: Mapping[str, Shown]
    other: Quality | None

    def to_dict(self) -> dict[str, Any]:
        """Return the document."""
        specs = {
            name: {"seconds": shown.seconds, **shown.quality.to_dict(), "differences": self.differences(name)}
            for name, shown in self.shown.items()
        }
        other = None if self.other is None else self.other.to_dict()
        return {**self.about, "against": self.against, "specs": specs, "other_real_pictures": other}

    def differences(self, name: str) -> dict[str, Any]:
        """Return a spec's differences to the baseline, over the same seeds."""
        if name == self.against:
            return {}
        one, base = self.shown[name].quality, self.shown[self.against].quality
        return {measure: estimate.minus(base[measure]).to_dict() for measure, estimate in one.estimates.items()}


class Studio:
    """A comparison by pictures; everything that can be refused is refused on construction."""

    def __init__(
        self,
        backbone: Backbone,
        dataset: Dataset,
        prompts: Sequence[str],
        specs: Mapping[str, str],
        drawing: Drawing,
        seed: int = 0,
        batch: int | None = None,
    ) -> None:
        self._backbone, self._drawing, self._specs = backbone, drawing, specs
        self._dataset, self._prompts, self._seed = dataset, prompts, seed
        self._members = _by_class(dataset, seed)
        self._share = self._shared_out()
        # a network is told each picture twice, with its prompt and without
        self._batch = max(1, min(self._share, (batch or automatic(backbone)) // 2))
        self._feature = load_feature(drawing.feature, backbone)
        first = {name: self._generation(name, 0) for name in specs}
        self._settings = {name: generation.settings for name, generation in first.items()}
        self._store = Store(drawing.keep, drawing.replace)
        self._kept = {
            (number, name): kept
            for number in range(len(prompts))
            for name in specs
            if (kept := self._store.read(self._file(number, name), self._told(number, name))) is not None
        }

    def events(self, against: str) -> Iterator[Progress | Gallery]:
        """Draw what is missing, spec after spec for each class, so that what slows the machine slows all alike."""
        parts = dict(self._kept)
        missing = [(n, name) for n in range(len(self._prompts)) for name in self._specs if (n, name) not in parts]
        for done, (number, name) in enumerate(missing):
            for event in self._drawn(number, name):
                if isinstance(event, Step):
                    share = done + event.done / event.of
                    yield Progress(share * self._share, len(missing) * self._share)
                else:
                    parts[number, name] = event
        yield self._gallery(parts, against)

    def _drawn(self, number: int, name: str) -> Iterator[Step | Arrays]:
        started = time.monotonic()
        images: list[Image.Image] = []
        for event in self._generation(name, number).events():
            if isinstance(event, Sample):
                images.append(event.image)
            else:
                yield event
        seconds = (time.monotonic() - started) / self._share
        shown = np.stack([np.asarray(image) for image in images[:SHOWN]])
        arrays = {"seconds": seconds, "features": self._feature(images), "pictures": shown}
        self._store.write(self._file(number, name), self._told(number, name), arrays)
        yield arrays

    def _gallery(self, parts: Mapping[tuple[int, str], Arrays], against: str) -> Gallery:
        real, others = self._real()
        measures = [name for name in MEASURES if name != "frechet" or len(real) > real.shape[1]]

        def judged(features: Rows) -> Quality:
            return compare_features(features, real, self._feature.name, measures=measures)

        shown = {}
        for name in self._specs:
            of_spec = [parts[number, name] for number in range(len(self._prompts))]
            self._hang(name, [pixels for part in of_spec for pixels in part["pictures"]])
            seconds = float(np.median([float(part["seconds"]) for part in of_spec]))
            shown[name] = Shown(judged(np.concatenate([part["features"] for part in of_spec])), seconds)
        other = None if others is None else judged(others)
        return Gallery(self._about(measures, real.shape[1]), against, shown, other)

    def _hang(self, name: str, pixels: Sequence[Any]) -> None:
        """Keep a grid of a spec's first pictures, a row for each class."""
        columns = min(SHOWN, self._share)
        about = {"prompts": list(self._prompts), "count": columns, "apart": APART, "seed": self._seed}
        grid = tiled([Image.fromarray(each) for each in pixels], columns)
        self._store.write_bytes(f"{name}.png", png(grid, about | self._settings[name]))

    def _about(self, measures: Sequence[str], width: int) -> dict[str, Any]:
        settings = next(iter(self._settings.values()))
        common = {key: value for key, value in settings.items() if key not in ("compress", "negative")}
        left_out = [name for name in MEASURES if name not in measures]
        counts = {"pictures": self._share * len(self._prompts), "of_each_class": self._share}
        return {**common, **counts, "feature": self._feature.name, "features": width, "left_out": left_out}

    def _generation(self, name: str, number: int) -> Generation:
        wish = self._drawing.wish(self._specs[name], self._first(number), self._batch)
        return Generation(self._backbone, [self._prompts[number]], wish, self._share)

    def _first(self, number: int) -> int:
        """Return the first seed of a class."""
        return self._seed + number * APART

    def _file(self, number: int, name: str) -> str:
        return f"{name}-{number:03d}"

    def _told(self, number: int, name: str) -> dict[str, Any]:
        about = {"prompt": self._prompts[number], "seed": self._first(number), "count": self._share}
        return {**about, "feature": self._feature.name, **self._settings[name]}

    def _shared_out(self) -> int:
        """Return how many of each class are drawn: no more than there are real ones."""
        classes = len(self._prompts)
        share, least = self._drawing.share(classes), min(self._members, key=len)
        if share > len(least):
            name = self._dataset.classes[self._members.index(least)]
            why = f"as many real pictures of each class are needed, and {name} has {len(least)}"
            raise UsageError(f"--generate {self._drawing.count}", why, f"At most {classes * len(least)} are possible.")
        return share

    def _real(self) -> tuple[Rows, Rows | None]:
        """Return the features of as many real pictures of each class, and of as many others if there are."""
        whole = [_readable(cases, 2 * self._share, self._sized) for cases in self._members]
        for name, images in zip(self._dataset.classes, whole, strict=True):
            if len(images) < self._share:
                why = f"{self._share} real pictures of each class are needed, and {len(images)} of {name} can be read"
                raise UsageError(f"--generate {self._drawing.count}", why, "Ask for fewer.")
        first = self._feature([image for images in whole for image in images[: self._share]])
        if min(map(len, whole)) < 2 * self._share:
            return first, None
        return first, self._feature([image for images in whole for image in images[self._share :]])

    def _sized(self, image: Image.Image) -> Image.Image:
        """Return the largest central part of the drawn pictures' proportions, in their size."""
        width, height = next(iter(self._settings.values()))["size"]
        same = image.size == (width, height)
        return image if same else ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)


def _by_class(dataset: Dataset, seed: int) -> list[list[Case]]:
    """Return each class's pictures in the order of the seed."""
    if dataset.many:
        raise UsageError("--generate", "pictures of this dataset have several classes", "Leave it out.")
    members: list[list[Case]] = [[] for _ in dataset.classes]
    for case in shuffled(dataset.cases, seed):
        members[case.truth[0]].append(case)
    return members


def _readable(cases: Sequence[Case], count: int, sized: Any) -> list[Image.Image]:
    """Return the first pictures that can be read."""
    found: list[Image.Image] = []
    for case in cases:
        item = prepare(case.opened())
        if isinstance(item, Picture):
            found.append(sized(item.image))
        if len(found) == count:
            break
    return found
