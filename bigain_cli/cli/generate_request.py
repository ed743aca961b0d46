"""The options of `generate`, for new images or a previous one again. Must not load anything heavy."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass

from bigain_cli.backbones.model_locations import is_present, resolve
from bigain_cli.backbones.unloaded_model import read_unloaded
from bigain_cli.cli.cache_folder import hub_cache
from bigain_cli.errors import UsageError
from bigain_cli.generation.image_paths import STDOUT, check_paths, image_paths
from bigain_cli.generation.options import GenerationOptions
from bigain_cli.generation.png_settings import PreviousImage, read_previous
from bigain_cli.generation.zoom import Zoom


@dataclass(frozen=True)
class GenerateRequest:
    """Every option."""

    prompts: tuple[str, ...]
    count: int
    options: GenerationOptions
    model: str
    device: str
    dtype: str
    output: str | None
    grid: bool
    zoom: Zoom | None
    force: bool
    jsonl: bool
    previous: PreviousImage | None = None
    cache: bool = True

    @property
    def paths(self) -> list[str]:
        """The path of each image, or of their grid."""
        return image_paths(self.output, self.prompts, self.count, self.options.seed, self.grid)

    @property
    def captions(self) -> bool:
        """Whether it is a grid with captions, as every new one is."""
        return self.grid and (self.previous is None or self.previous.zoom is not None)

    def check(self) -> None:
        """Refuse paths that cannot or should not be written, and prompts that the model does not know."""
        paths = self.paths
        if paths != [STDOUT]:
            check_paths(paths, self.output, self.force)
        elif self.jsonl:
            raise UsageError("-o - --jsonl", "both go to stdout", "Write the image to a file: -o FILE.png.")
        elif sys.stdout.isatty():
            raise UsageError("-o -", "a terminal shows no images", "Pipe it on, or write to a file: -o FILE.png.")
        if self.previous is None:
            read_unloaded(resolve(self.model), hub_cache()).refuse_unknown(self.prompts)


def request_again(
    path: str, model: str | None, device: str, output: str | None, force: bool, jsonl: bool
) -> GenerateRequest:
    """Return the request that generates an image again; `model` is needed if its model is elsewhere now."""
    previous = read_previous(path)
    name = model or previous.model
    previous.check_version(name)
    if model is None and not is_present(resolve(name), hub_cache()):
        why = "is not on this machine, and an image may name any model, so it is not downloaded unasked"
        raise UsageError(f"model {name} of {path}", why, f"Add -m {shlex.quote(name)} to download it.")
    return GenerateRequest(
        previous.prompts, previous.count, previous.options, name, device, previous.dtype,
        output, previous.is_grid, previous.zoom, force, jsonl, previous,
    )  # fmt: skip
