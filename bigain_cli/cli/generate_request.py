"""What a user wants of `generate`: new images, or a previous one again. Checked before anything heavy is loaded."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from bigain_cli.errors import UsageError
from bigain_cli.generation.image_paths import STDOUT, check_paths, image_paths
from bigain_cli.generation.options import GenerationOptions
from bigain_cli.generation.png_settings import PreviousImage, read_previous


@dataclass(frozen=True)
class GenerateRequest:
    """Every option, and where the images go."""

    prompts: tuple[str, ...]
    count: int
    wish: GenerationOptions
    model: str
    device: str
    dtype: str
    output: str | None
    grid: bool
    force: bool
    jsonl: bool
    previous: PreviousImage | None = None

    @property
    def paths(self) -> list[str]:
        """Return a path for each image, or for the grid of them."""
        return image_paths(self.output, self.prompts, self.count, self.wish.seed, self.grid)

    def check(self) -> None:
        """Refuse what cannot or should not be written."""
        paths = self.paths
        if paths != [STDOUT]:
            check_paths(paths, self.output, self.force)
        elif self.jsonl:
            raise UsageError("-o - --jsonl", "both go to stdout", "Write the image to a file: -o FILE.png.")
        elif sys.stdout.isatty():
            raise UsageError("-o -", "a terminal shows no images", "Pipe it on, or write to a file: -o FILE.png.")


def request_again(
    path: str, model: str | None, device: str, output: str | None, force: bool, jsonl: bool
) -> GenerateRequest:
    """Return the order that an image's own settings make; its model may have moved."""
    previous = read_previous(path)
    name = model or previous.model
    previous.check_version(name)
    return GenerateRequest(
        previous.prompts, previous.count, previous.options, name, device, previous.dtype,
        output, previous.is_grid, force, jsonl, previous,
    )  # fmt: skip
