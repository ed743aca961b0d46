"""Images generated under each spec, for each class from the same seeds, and compared with real images of the class.

In: a backbone, a dataset, specs; out: progress, then an ImageQuality. Must not know how images are classified.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from bigain_cli.backbones.base import Backbone, machine_of
from bigain_cli.backbones.batch_sizes import automatic_batch_size, out_of_memory
from bigain_cli.datasets.dataset import Case, Dataset, by_class, shuffled
from bigain_cli.errors import BigainError, UsageError
from bigain_cli.evaluation.array_cache import ArrayCache, Arrays
from bigain_cli.evaluation.generated_image_options import GeneratedImagesOptions, images_per_class
from bigain_cli.evaluation.image_features import FeatureRows, load_feature
from bigain_cli.evaluation.image_metrics import Quality, check_features, compare_features
from bigain_cli.generation.generated_image import GeneratedImage
from bigain_cli.generation.generator import Generation, GenerationProgress
from bigain_cli.generation.zoom import grid_zoom
from bigain_cli.images import LoadedImage, crop_and_resize, read_or_error
from bigain_cli.outputs.image_grid import ImageGrid, Section, about_square
from bigain_cli.outputs.png import png
from bigain_cli.outputs.text import counted
from bigain_cli.registry import MEASURES

SEED_STEP = 1_000_000  # between the first seeds of two classes
COLUMNS, ROWS = 10, 100  # of a grid: images of each class, classes
MANY_CLASSES = 40  # from this many classes on, a grid has one image of each


@dataclass(frozen=True)
class Progress:
    """How many images are generated; those kept from an earlier run do not count."""

    done: float
    of: int


@dataclass(frozen=True)
class SpecImageQuality:
    """The image quality under one spec."""

    quality: Quality
    seconds: float  # per image, median over classes


@dataclass(frozen=True)
class ImageQuality:
    """The quality under each spec; `other` is that of other real images, if there are enough."""

    about: Mapping[str, Any]
    against: str
    specs: Mapping[str, SpecImageQuality]
    other: Quality | None

    def to_dict(self) -> dict[str, Any]:
        """Return the document."""
        specs = {
            name: {"seconds": own.seconds, **own.quality.to_dict(), "differences": self.differences(name)}
            for name, own in self.specs.items()
        }
        other = None if self.other is None else self.other.to_dict()
        return {**self.about, "against": self.against, "specs": specs, "other_real_pictures": other}

    def differences(self, name: str) -> dict[str, Any]:
        """Return a spec's differences to the baseline, over the same seeds."""
        if name == self.against:
            return {}
        own, base = self.specs[name].quality, self.specs[self.against].quality
        return {measure: estimate.minus(base[measure]).to_dict() for measure, estimate in own.estimates.items()}


class ImageGeneration:
    """Generates and compares images; whatever can be refused before generating is refused on construction."""

    def __init__(
        self,
        backbone: Backbone,
        dataset: Dataset,
        prompts: Sequence[str],
        specs: Mapping[str, str],
        options: GeneratedImagesOptions,
        seed: int = 0,
        batch: int | None = None,
    ) -> None:
        self._backbone, self._options, self._specs = backbone, options, specs
        self._prompts, self._seed = prompts, seed
        self._per_class = images_per_class(options, dataset)
        rows = batch or automatic_batch_size(backbone)
        self._batch = max(1, min(self._per_class, rows // 2))  # an image takes two rows: with its prompt and without
        self._feature = load_feature(options.feature, backbone, rows)
        self._settings = {name: self._generation(name, 0).settings for name in specs}
        self._cache = ArrayCache(options.keep, options.replace)
        self._kept = {
            (number, name): kept
            for number in range(len(prompts))
            for name in specs
            if (kept := self._cache.read(self._file(number, name), self._settings_of(number, name))) is not None
        }
        self._real, self._other = self._real_features(dataset)

    @property
    def plan(self) -> str:
        """What a run takes, as a phrase."""
        images = counted(self._per_class * len(self._prompts), "image")
        specs = f" × {len(self._specs)} specs" if len(self._specs) > 1 else ""
        steps = next(iter(self._settings.values()))["steps"]
        return f"{images}{specs} × {counted(steps, 'step')} on {machine_of(self._backbone)}"

    def events(self, against: str) -> Iterator[Progress | ImageQuality]:
        """Generate what is missing, spec after spec for each class, so that a slow phase affects all specs alike."""
        parts = dict(self._kept)
        missing = [(n, name) for n in range(len(self._prompts)) for name in self._specs if (n, name) not in parts]
        for done, (number, name) in enumerate(missing):
            for event in self._generate(number, name):
                if isinstance(event, GenerationProgress):
                    finished = done + event.done / event.of
                    yield Progress(finished * self._per_class, len(missing) * self._per_class)
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
        seconds = (time.monotonic() - started) / self._per_class
        self._check_unchanged(generation.settings, self._settings[name])
        features = check_features(self._features_of(images), "generated")
        samples = np.array([np.asarray(image) for image in images[: self._columns]], np.uint8)
        arrays = {"seconds": seconds, "features": features, "pictures": samples}
        self._cache.write(self._file(number, name), self._settings_of(number, name), arrays)
        yield arrays

    def _check_unchanged(self, now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """Stop if a dtype or a batch size failed and was replaced: images before and after would not compare."""
        for key, option in (("dtype", "--dtype"), ("batch", "--batch")):
            if now[key] != before[key]:
                value = now[key] if key == "dtype" else 2 * now[key]
                why = f"{before[key]} failed, and images generated with {now[key]} would not compare with the others"
                raise BigainError(f"{key} of the images", why, f"Begin with {option} {value}.")

    def _features_of(self, images: Sequence[Image.Image]) -> FeatureRows:
        try:
            return self._feature(images)
        except RuntimeError as problem:
            if not out_of_memory(problem):
                raise
            hint = f"Begin with --batch {max(1, self._batch // 2)}."
            raise BigainError("out of memory", f"while {self._feature.name} was computed", hint) from problem

    def _image_quality(self, parts: Mapping[tuple[int, str], Arrays], against: str) -> ImageQuality:
        measures = [name for name in MEASURES if name != "frechet" or len(self._real) > self._real.shape[1]]

        def compared(features: FeatureRows) -> Quality:
            return compare_features(features, self._real, self._feature.name, measures=measures)

        specs = {}
        for name in self._specs:
            of_spec = [parts[number, name] for number in range(len(self._prompts))]
            self._save_grid(name, [pixels for part in of_spec[:ROWS] for pixels in part["pictures"]])
            seconds = float(np.median([float(part["seconds"]) for part in of_spec]))
            specs[name] = SpecImageQuality(compared(np.concatenate([part["features"] for part in of_spec])), seconds)
        other = None if self._other is None else compared(self._other)
        return ImageQuality(self._about(measures), against, specs, other)

    @property
    def _columns(self) -> int:
        """Return how many images of a class are in the grid; 0 if nothing is kept."""
        return min(COLUMNS if len(self._prompts) < MANY_CLASSES else 1, self._per_class) if self._cache else 0

    def _save_grid(self, name: str, pixels: Sequence[Any]) -> None:
        """Keep a grid of a spec's first images, a row for each class."""
        if pixels:
            rows = self._prompts[:ROWS]
            seeds = [self._first_seed(number) for number in range(len(rows))]
            images = [Image.fromarray(each) for each in pixels]
            zoom = grid_zoom(images[0].size)
            layout = self._layout(rows, seeds, zoom.size(images[0].size))
            about = {"rows": list(rows), "seeds": seeds}
            grid = layout.paint([zoom.enlarged(image) for image in images])
            self._cache.write_bytes(f"{name}.png", png(grid, about | self._settings[name]))

    def _layout(self, prompts: Sequence[str], seeds: Sequence[int], cell: tuple[int, int]) -> ImageGrid:
        """Return a section for each class or, with one image of each, one section for all."""
        columns = self._columns
        if columns == 1:
            return ImageGrid([Section("", tuple(prompts))], about_square(len(prompts)), cell)
        captions = [tuple(f"seed {seed + i}" for i in range(columns)) for seed in seeds]
        return ImageGrid([Section(*each) for each in zip(prompts, captions, strict=True)], columns, cell)

    def _about(self, measures: Sequence[str]) -> dict[str, Any]:
        settings = next(iter(self._settings.values()))
        common = {key: value for key, value in settings.items() if key not in ("compress", "negative")}
        counts = {"pictures": self._per_class * len(self._prompts), "of_each_class": self._per_class}
        feature = {"feature": self._feature.name, "features": self._real.shape[1]}
        excluded = [name for name in MEASURES if name not in measures]
        parts = {"parts": len(self._prompts) * len(self._specs), "parts_kept_before": len(self._kept)}
        return {**common, "prompts": list(self._prompts), **counts, **feature, "left_out": excluded, **parts}

    def _generation(self, name: str, number: int) -> Generation:
        options = self._options.generation_options(self._specs[name], self._first_seed(number), self._batch)
        return Generation(self._backbone, [self._prompts[number]], options, self._per_class)

    def _first_seed(self, number: int) -> int:
        """Return the first seed of a class."""
        return self._seed + number * SEED_STEP

    def _file(self, number: int, name: str) -> str:
        return f"{name}-{number:03d}"

    def _settings_of(self, number: int, name: str) -> dict[str, Any]:
        """Return everything that a class's images and features depend on; the model's name is not part of it."""
        about = {"prompt": self._prompts[number], "seed": self._first_seed(number), "count": self._per_class}
        feature = {"device": self._backbone.device.type, "feature": self._feature.identity}
        settings = {key: value for key, value in self._settings[name].items() if key != "model"}
        return {**about, **feature, **settings, "shown": self._columns}

    def _real_features(self, dataset: Dataset) -> tuple[FeatureRows, FeatureRows | None]:
        """Return the features of as many real images of each class, and of as many others if there are enough."""
        first, others = [], []
        cases = by_class(shuffled(dataset.cases, self._seed))
        for number, name in enumerate(dataset.classes):
            images = self._read_images(cases[number])
            if len(images) < self._per_class:
                why = f"{self._per_class} real images of each class are needed, and {len(images)} of {name} can be read"
                raise UsageError(f"--generate {self._options.count}", why, "Repair the others, or generate fewer.")
            features = check_features(self._features_of(images), "real")
            first.append(features[: self._per_class])
            others.append(features[self._per_class :])
        enough = min(map(len, others)) == self._per_class
        return np.concatenate(first), np.concatenate(others) if enough else None

    def _read_images(self, cases: Sequence[Case]) -> list[Image.Image]:
        """Return a class's first readable images, at most twice as many as are generated."""
        width, height = next(iter(self._settings.values()))["size"]
        items = (read_or_error(case.opened()) for case in cases)
        images = (crop_and_resize(item.image, (width, height)) for item in items if isinstance(item, LoadedImage))
        return list(itertools.islice(images, 2 * self._per_class))
