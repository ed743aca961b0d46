"""Images generated under each spec: class by class from the same seeds, compared with real ones of these classes.

In: a backbone, a dataset, specs; out: progress, then a Gallery. Must not know how images are classified.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.batch_sizes import automatic_batch_size
from bigain_cli.backbones.devices import out_of_memory
from bigain_cli.datasets.dataset import Case, Dataset, by_class, shuffled
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.evaluation.array_cache import ArrayCache, Arrays
from bigain_cli.evaluation.generated_options import GeneratedImagesOptions, share_of
from bigain_cli.evaluation.image_features import Rows, load_feature
from bigain_cli.evaluation.image_metrics import Quality, checked, compare_features
from bigain_cli.generation.generator import GeneratedImage, Generation, GenerationProgress
from bigain_cli.images import LoadedImage, crop_and_resize, read_or_error
from bigain_cli.outputs.png import png, tiled
from bigain_cli.registry import MEASURES

APART = 1_000_000  # between the first seeds of two classes
SHOWN, ROWS, MANY = 10, 100, 40  # of a grid: images of each class, classes; from so many classes on, one image each


@dataclass(frozen=True)
class Progress:
    """How many of the images that were not kept from an earlier run are generated."""

    done: float
    of: int


@dataclass(frozen=True)
class SpecImageQuality:
    """The quality under one spec."""

    quality: Quality
    seconds: float  # per image, median over classes


@dataclass(frozen=True)
class ImageQuality:
    """The quality under each spec; `other` compares other real images with the same real ones, if there are enough."""

    about: Mapping[str, Any]
    against: str
    shown: Mapping[str, SpecImageQuality]
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


class ImageGeneration:
    """A comparison of generated images; what can be refused before anything is generated is refused on construction."""

    def __init__(
        self,
        backbone: Backbone,
        dataset: Dataset,
        prompts: Sequence[str],
        specs: Mapping[str, str],
        drawing: GeneratedImagesOptions,
        seed: int = 0,
        batch: int | None = None,
    ) -> None:
        self._backbone, self._drawing, self._specs = backbone, drawing, specs
        self._prompts, self._seed = prompts, seed
        self._share = share_of(drawing, dataset)
        rows = batch or automatic_batch_size(backbone)
        self._batch = max(1, min(self._share, rows // 2))  # each image is two rows, with its prompt and without
        self._feature = load_feature(drawing.feature, backbone, rows)
        self._settings = {name: self._generation(name, 0).settings for name in specs}
        self._store = ArrayCache(drawing.keep, drawing.replace)
        self._kept = {
            (number, name): kept
            for number in range(len(prompts))
            for name in specs
            if (kept := self._store.read(self._file(number, name), self._settings_of(number, name))) is not None
        }
        self._real, self._other = self._real_features(dataset)

    def events(self, against: str) -> Iterator[Progress | ImageQuality]:
        """Generate what is missing, spec after spec for each class, so that what slows the machine slows all alike."""
        parts = dict(self._kept)
        missing = [(n, name) for n in range(len(self._prompts)) for name in self._specs if (n, name) not in parts]
        for done, (number, name) in enumerate(missing):
            for event in self._generate(number, name):
                if isinstance(event, GenerationProgress):
                    share = done + event.done / event.of
                    yield Progress(share * self._share, len(missing) * self._share)
                else:
                    parts[number, name] = event
        yield self._image_quality(parts, against)

    def _generate(self, number: int, name: str) -> Iterator[GenerationProgress | Arrays]:
        generation = self._generation(name, number)
        images: list[Image.Image] = []
        started = time.monotonic()
        for event in generation.events():
            if isinstance(event, GeneratedImage):
                images.append(event.image)
            else:
                yield event
        seconds = (time.monotonic() - started) / self._share
        self._refuse_change(generation.settings, self._settings[name])
        features = checked(self._features_of(images), "generated")
        samples = np.array([np.asarray(image) for image in images[: self._columns]], np.uint8)
        arrays = {"seconds": seconds, "features": features, "pictures": samples}
        self._store.write(self._file(number, name), self._settings_of(number, name), arrays)
        yield arrays

    def _refuse_change(self, now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
        """Stop where a number type or a batch failed: images generated before and after would not compare."""
        for key, option in (("dtype", "--dtype"), ("batch", "--batch")):
            if now[key] != then[key]:
                value = now[key] if key == "dtype" else 2 * now[key]
                why = f"{then[key]} failed, and images generated with {now[key]} would not compare with the others"
                raise BigainError(f"{key} of the images", why, f"Begin with {option} {value}.")

    def _features_of(self, images: Sequence[Image.Image]) -> Rows:
        try:
            return self._feature(images)
        except RuntimeError as problem:
            if not out_of_memory(problem):
                raise
            hint = f"Begin with --batch {max(1, self._batch // 2)}."
            raise BigainError("out of memory", f"while {self._feature.name} was computed", hint) from problem

    def _image_quality(self, parts: Mapping[tuple[int, str], Arrays], against: str) -> ImageQuality:
        measures = [name for name in MEASURES if name != "frechet" or len(self._real) > self._real.shape[1]]

        def judged(features: Rows) -> Quality:
            return compare_features(features, self._real, self._feature.name, measures=measures)

        shown = {}
        for name in self._specs:
            of_spec = [parts[number, name] for number in range(len(self._prompts))]
            self._save_grid(name, [pixels for part in of_spec[:ROWS] for pixels in part["pictures"]])
            seconds = float(np.median([float(part["seconds"]) for part in of_spec]))
            shown[name] = SpecImageQuality(judged(np.concatenate([part["features"] for part in of_spec])), seconds)
        other = None if self._other is None else judged(self._other)
        return ImageQuality(self._about(measures), against, shown, other)

    @property
    def _columns(self) -> int:
        """Return how many images of a class are in the grid; none where nothing is kept."""
        return min(SHOWN if len(self._prompts) < MANY else 1, self._share) if self._store else 0

    def _save_grid(self, name: str, pixels: Sequence[Any]) -> None:
        """Keep a grid of a spec's first images, a row for each class."""
        if pixels:
            seeds = [self._first(number) for number in range(len(self._prompts))]
            about = {"rows": list(self._prompts[:ROWS]), "seeds": seeds[:ROWS]}
            grid = tiled([Image.fromarray(each) for each in pixels], self._columns)
            self._store.write_bytes(f"{name}.png", png(grid, about | self._settings[name]))

    def _about(self, measures: Sequence[str]) -> dict[str, Any]:
        settings = next(iter(self._settings.values()))
        common = {key: value for key, value in settings.items() if key not in ("compress", "negative")}
        counts = {"pictures": self._share * len(self._prompts), "of_each_class": self._share}
        feature = {"feature": self._feature.name, "features": self._real.shape[1]}
        left_out = [name for name in MEASURES if name not in measures]
        parts = {"parts": len(self._prompts) * len(self._specs), "parts_kept_before": len(self._kept)}
        return {**common, "prompts": list(self._prompts), **counts, **feature, "left_out": left_out, **parts}

    def _generation(self, name: str, number: int) -> Generation:
        wish = self._drawing.wish(self._specs[name], self._first(number), self._batch)
        return Generation(self._backbone, [self._prompts[number]], wish, self._share)

    def _first(self, number: int) -> int:
        """Return the first seed of a class."""
        return self._seed + number * APART

    def _file(self, number: int, name: str) -> str:
        return f"{name}-{number:03d}"

    def _settings_of(self, number: int, name: str) -> dict[str, Any]:
        """Return all that a class's images and features depend on; the model's name is not part of it."""
        about = {"prompt": self._prompts[number], "seed": self._first(number), "count": self._share}
        feature = {"device": self._backbone.device.type, "feature": self._feature.identity}
        settings = {key: value for key, value in self._settings[name].items() if key != "model"}
        return {**about, **feature, **settings, "shown": self._columns}

    def _real_features(self, dataset: Dataset) -> tuple[Rows, Rows | None]:
        """Return the features of as many real images of each class, and of as many others if there are."""
        first, others = [], []
        members = by_class(shuffled(dataset.cases, self._seed))
        for number, name in enumerate(dataset.classes):
            images = self._readable(members[number])
            if len(images) < self._share:
                why = f"{self._share} real images of each class are needed, and {len(images)} of {name} can be read"
                raise UsageError(f"--generate {self._drawing.count}", why, "Repair the others, or generate fewer.")
            features = checked(self._features_of(images), "real")
            first.append(features[: self._share])
            others.append(features[self._share :])
        whole = min(map(len, others)) == self._share
        return np.concatenate(first), np.concatenate(others) if whole else None

    def _readable(self, cases: Sequence[Case]) -> list[Image.Image]:
        """Return a class's first images that can be read, twice as many as are generated if there are."""
        found: list[Image.Image] = []
        for case in cases:
            item = read_or_error(case.opened())
            if isinstance(item, LoadedImage):
                found.append(crop_and_resize(item.image, self._size))
            if len(found) == 2 * self._share:
                break
        return found

    @property
    def _size(self) -> tuple[int, int]:
        """Return the width and height of the generated images."""
        width, height = next(iter(self._settings.values()))["size"]
        return width, height
