"""Compare compressions by the pictures they leave: distance, precision and recall to real ones, and time.

python tests/measure_quality.py MODEL DATA.safetensors [--images 2000] [-c none -c tome:0.7 …] [--keep FOLDER]

Every spec draws the same number of pictures of each class from the same seeds, so differences to the first spec are
paired. Pictures and features are kept class by class: a second run goes on where the first one stopped, and adds specs.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bigain_cli import Generation, Sample, Wish, load, load_feature
from bigain_cli.backbones.base import Backbone
from bigain_cli.labels.templates import DEFAULT_TEMPLATE, fill
from bigain_cli.outputs.files import write_whole
from bigain_cli.outputs.pictures import png, tiled
from bigain_cli.quality.comparison import Quality, compare_features
from bigain_cli.quality.features import Feature
from bigain_cli.registry import FEATURES, MEASURES
from bigain_cli.sampler.sizes import pixels
from bigain_cli.train.pictures import Pictures, load_pictures

SPECS = ("none", "tome:0.7", "lgtm:0.7", "todo:2", "iekvd:2@0.8:1.2")
COLUMNS = 10  # of a grid, which has a row for each class
APART = 1_000_000  # between the first seeds of two classes
NAMES = {"frechet": "Fréchet distance", "kernel": "kernel distance", "precision": "precision", "recall": "recall"}


@dataclass(frozen=True)
class Bench:
    """What all specs have in common."""

    backbone: Backbone
    feature: Feature
    keep: Path
    share: int  # pictures of each class
    options: dict[str, Any]  # of Wish

    def drawn(self, spec: str, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Return the features of a spec's pictures, seconds a picture by class, and the settings; save a grid."""
        parts = [self._of_class(spec, number, name) for number, name in enumerate(classes)]
        shown = [Image.fromarray(row) for part in parts for row in part["pictures"][:COLUMNS]]
        settings = json.loads(str(parts[0]["told"]))
        grid = tiled(shown, min(COLUMNS, self.share))
        write_whole(str(self.keep / f"{slug(spec)}.png"), png(grid, settings), force=True)
        seconds = np.array([float(part["seconds"]) for part in parts]) / self.share
        return np.concatenate([part["features"] for part in parts]), seconds, settings

    def _of_class(self, spec: str, number: int, name: str) -> dict[str, Any]:
        """Read a class's pictures if they were made with these very settings, or make them."""
        prompt = name if self.backbone.vocabulary is not None else fill(DEFAULT_TEMPLATE, name)
        wish = Wish(seed=number * APART, compress=spec, **self.options)
        generation = Generation(self.backbone, [prompt], wish, self.share)
        told = json.dumps(generation.settings | {"prompt": prompt, "seed": wish.seed, "feature": self.feature.name})
        path = self.keep / f"{slug(spec)}-{number:03d}.npz"
        if path.exists():
            kept = read(path)
            if str(kept["told"]) == told and len(kept["features"]) == self.share:
                return kept
        start = time.perf_counter()
        images = [event.image for event in generation.events() if isinstance(event, Sample)]
        made = {"seconds": time.perf_counter() - start, "told": told, "features": self.feature(images)}
        made["pictures"] = np.stack([np.asarray(image) for image in images])
        self._write(path, made)
        print(f"{spec}: {name}, {made['seconds'] / self.share:.3f} s a picture", file=sys.stderr, flush=True)
        return made

    def real(self, pictures: Pictures, first: int) -> np.ndarray:
        """Return the features of real pictures, as many of each class, from a place in each class's order on."""
        index = [torch.nonzero(pictures.labels == label)[first : first + self.share, 0] for label in labels(pictures)]
        numbers = torch.cat(index).tolist()
        told = json.dumps({"numbers": numbers, "of": len(pictures), "feature": self.feature.name})
        path = self.keep / f"real-{first}.npz"
        if path.exists():
            kept = read(path)
            if str(kept["told"]) == told:
                return kept["features"]
        features = self.feature(pictures.image(number) for number in numbers)
        self._write(path, {"told": told, "features": features})
        return features

    def _write(self, path: Path, arrays: dict[str, Any]) -> None:
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        write_whole(str(path), stream.getvalue(), force=True)


def read(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        return dict(arrays)


def labels(pictures: Pictures) -> range:
    return range(len(pictures.classes))


def slug(spec: str) -> str:
    """Return a file name for a spec; should two share it, their settings tell them apart."""
    return re.sub(r"[^\w.+@-]", "_", spec)


def number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def cell(interval: Any, sign: str = "") -> str:
    text = number(interval.value)
    return f"{sign if interval.value >= 0 else ''}{text} [{number(interval.low)}, {number(interval.high)}]"


def row(name: str, quality: Quality, first: Quality | None, seconds: np.ndarray | None) -> str:
    """Return a line of the table: every measure and, below it, its paired difference to the first spec."""
    cells = []
    for measure, estimate in quality.estimates.items():
        text = cell(estimate.interval)
        if first is not None and first is not quality:
            text += f"<br>Δ {cell(estimate.minus(first[measure]), '+')}"
        cells.append(text)
    timed = "–" if seconds is None else f"{np.median(seconds):.3f}"
    return f"| {name} | {' | '.join(cells)} | {timed} |"


def table(bench: Bench, specs: Sequence[str], pictures: Pictures) -> list[str]:
    """Draw and measure spec by spec, and return the table's lines."""
    count = bench.share * len(pictures.classes)
    real = bench.real(pictures, 0)
    measures = list(MEASURES)
    if count <= real.shape[1]:
        print(f"no Fréchet distance: {count} pictures for {real.shape[1]} features", file=sys.stderr)
        measures.remove("frechet")
    lines: list[str] = []
    first = None
    for spec in specs:
        features, seconds, settings = bench.drawn(spec, pictures.classes)
        quality = compare_features(features, real, bench.feature.name, measures=measures)
        if first is None:
            first = quality
            lines += heading(bench, settings, measures, count)
        lines.append(row(f"`{spec}`", quality, first, seconds))
    fewest = min(int((pictures.labels == label).sum()) for label in labels(pictures))
    if fewest >= 2 * bench.share:
        other = compare_features(bench.real(pictures, bench.share), real, bench.feature.name, measures=measures)
        lines.append(row("other real pictures", other, None, None))
    return lines


def heading(bench: Bench, settings: dict[str, Any], measures: Sequence[str], count: int) -> list[str]:
    """Return what must be known of all numbers, and the table's head."""
    run = ", ".join(f"{name} {settings[name]}" for name in ("sampler", "steps", "guidance", "dtype", "batch"))
    place = f"{bench.backbone.device}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return [
        f"{settings['model']} (weights {settings['weights']}), {run}; {place}",
        f"Feature: {bench.feature.name}. {count} generated against {count} real pictures, {bench.share} of each class.",
        "In brackets 95 %: resampled for distances (spread, not bias), Wilson's for precision and recall; "
        "Δ to the first line over the same seeds. Seconds: median over classes.",
        "",
        f"| spec | {' | '.join(NAMES[measure] for measure in measures)} | s per image |",
        f"|---|{'---:|' * (len(measures) + 1)}",
    ]


def main() -> None:
    """Draw, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("-c", "--compress", action="append", help=f"by default {', '.join(SPECS)}")
    parser.add_argument("--steps", type=int, help="by default what suits the model, as the two below")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--sampler")
    parser.add_argument("--feature", default="backbone", choices=list(FEATURES))
    parser.add_argument("--keep", default="quality", metavar="FOLDER")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    asked = parser.parse_args()
    backbone = load(asked.model, asked.device, asked.dtype)
    width, height = pixels(backbone, backbone.latent_shape)
    pictures = load_pictures(asked.data, width)
    fewest = min(int((pictures.labels == label).sum()) for label in labels(pictures))
    share = asked.images // len(pictures.classes)
    if not 1 <= share <= fewest or width != height:
        parser.error(f"--images {asked.images}: from {len(pictures.classes)} to {fewest * len(pictures.classes)}")
    keep = Path(asked.keep)
    keep.mkdir(parents=True, exist_ok=True)
    options = {"steps": asked.steps, "guidance": asked.guidance, "sampler": asked.sampler}
    bench = Bench(backbone, load_feature(asked.feature, backbone), keep, share, options)
    print("\n".join(table(bench, asked.compress or SPECS, pictures)))


if __name__ == "__main__":
    main()
