"""A grid of what a backbone draws, a row for each class, to be looked at while it learns."""

from __future__ import annotations

from pathlib import Path

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.phrases import Phrases
from bigain_cli.outputs.files import write_whole
from bigain_cli.outputs.png import png, tiled
from bigain_cli.sampler import generate

COLUMNS, ROWS, STEPS, GUIDANCE = 8, 10, 20, 2.0


def save_grid(backbone: Backbone, phrases: Phrases, path: Path, seed: int) -> None:
    """Draw every class a few times, the same noise down every column, and write a PNG."""
    names = list(phrases.classes)[:ROWS]
    prompts = [phrases.question(name) if backbone.vocabulary is None else phrases.classes[name][0] for name in names]
    samples = generate(
        backbone, prompts, count=COLUMNS, sampler="ddim", steps=STEPS, guidance=GUIDANCE, seed=seed, compress="none"
    )
    grid = tiled([sample.image for sample in samples], COLUMNS)
    write_whole(str(path), png(grid, {"prompts": prompts, "seed": seed, "steps": STEPS}), force=True)
