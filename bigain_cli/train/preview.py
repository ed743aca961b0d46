"""A grid of what a backbone draws, a row for each class, to be looked at while it learns."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bigain_cli.backbones.base import Backbone
from bigain_cli.backbones.phrases import Phrases
from bigain_cli.errors import BigainError
from bigain_cli.sampler import sample

COLUMNS, ROWS, STEPS, GUIDANCE = 8, 10, 20, 2.0


def save_grid(backbone: Backbone, phrases: Phrases, path: Path, seed: int) -> None:
    """Draw every class a few times, the same noise down every column, and write a PNG."""
    rows = []
    for name in list(phrases.classes)[:ROWS]:
        prompt = phrases.question(name) if backbone.vocabulary is None else phrases.classes[name][0]
        latents = sample(backbone, [prompt] * COLUMNS, [seed + column for column in range(COLUMNS)], STEPS, GUIDANCE)
        rows.append(backbone.decode(latents))
    width, height = rows[0][0].size
    grid = Image.new("RGB", (COLUMNS * width, len(rows) * height))
    for down, row in enumerate(rows):
        for across, picture in enumerate(row):
            grid.paste(picture, (across * width, down * height))
    temporary = path.with_name(f".{path.name}.part")
    try:
        grid.save(temporary, format="PNG")
        temporary.replace(path)
    except OSError as problem:
        why = f"cannot be written ({problem.strerror or problem})"
        raise BigainError(str(path), why, "Check the disk.") from problem
    finally:
        temporary.unlink(missing_ok=True)
