"""What `generate` returns: an image, or a grid of all images of a run, and what it depends on. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigain_cli.errors import UsageError
from bigain_cli.generation.zoom import Zoom, as_zoom, grid_zoom
from bigain_cli.outputs.image_grid import ImageGrid, Section, about_square
from bigain_cli.outputs.png import check_pixels, png, tiled
from bigain_cli.outputs.whole_files import check_target, write_whole

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class GeneratedImage:
    """An image, and everything it depends on."""

    image: Image
    prompt: str
    seed: int
    settings: dict[str, Any]  # of the run, without the prompt and the seed

    def enlarged(self, zoom: Zoom | int | str) -> GeneratedImage:
        """Return the image with 4 times its width and height, for example; `4:lanczos` is smooth."""
        zoom = as_zoom(zoom)
        if "zoom" in self.settings:
            raise UsageError(f"--zoom {zoom}", "this image is enlarged already", "Enlarge the one it was made from.")
        settings = self.settings if zoom.times == 1 else self.settings | {"zoom": str(zoom)}
        return replace(self, image=zoom.enlarged(self.image), settings=settings)

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return {"prompt": self.prompt, "seed": self.seed, "settings": self.settings}

    def png(self) -> bytes:
        """Return the image as PNG; its settings are in it, for `bigain generate --again`."""
        return png(self.image, {"prompt": self.prompt, "seed": self.seed, **self.settings})

    def save(self, path: str | Path, replace: bool = False) -> None:
        """Write the PNG; `replace` a file of that name."""
        _save(self.png(), path, replace)


@dataclass(frozen=True)
class GeneratedGrid:
    """All images of a run as one, with captions; image i of a prompt has the seed `seed` + i."""

    image: Image
    prompts: tuple[str, ...]
    seed: int
    count: int
    settings: dict[str, Any]  # as of each image, with how much they are enlarged

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return {**self._about, "settings": self.settings}

    def png(self) -> bytes:
        """Return the grid as PNG; its settings are in it, for `bigain generate --again`."""
        return png(self.image, self._about | self.settings)

    def save(self, path: str | Path, replace: bool = False) -> None:
        """Write the PNG; `replace` a file of that name."""
        _save(self.png(), path, replace)

    @property
    def _about(self) -> dict[str, Any]:
        return {"prompts": list(self.prompts), "seed": self.seed, "count": self.count}


def arrange(
    images: Iterable[GeneratedImage], zoom: Zoom | int | str | None = None, captions: bool = True
) -> GeneratedGrid:
    """Arrange all images of a run in a grid, a row for each prompt; if `zoom` says nothing, small ones are enlarged.

    Without captions they lie edge to edge, as they are.
    """
    images = list(images)
    prompts = tuple(dict.fromkeys(each.prompt for each in images))
    seed, count = min((each.seed for each in images), default=0), len(images) // max(len(prompts), 1)
    expected = [(prompt, seed + i) for prompt in prompts for i in range(count)]
    if not images or [(each.prompt, each.seed) for each in images] != expected or "zoom" in images[0].settings:
        why = "not all images of one run in their order, and as they were generated"
        raise UsageError("images for a grid", why, "Give all that generate() yields.")
    settings, size = images[0].settings, images[0].image.size
    if not captions:
        image = tiled([each.image for each in images], _columns(prompts, count))
    else:
        chosen, layout = plan_grid(prompts, seed, count, size, None if zoom is None else as_zoom(zoom))
        image = layout.paint([chosen.enlarged(each.image) for each in images])
        settings = settings | {"zoom": str(chosen)}
    return GeneratedGrid(image, prompts, seed, count, settings)


def plan_grid(
    prompts: Sequence[str], seed: int, count: int, size: tuple[int, int], zoom: Zoom | None
) -> tuple[Zoom, ImageGrid]:
    """Return how much images are enlarged, and their places; refuse a grid that is too large, before there are any."""
    zoom = zoom or grid_zoom(size)
    width, height = zoom.size(size)
    seeds, columns = tuple(f"seed {seed + i}" for i in range(count)), _columns(prompts, count)
    sections = [Section(prompt, seeds) for prompt in prompts]
    if count == 1 and len(prompts) > 1:
        sections, columns = [Section(seeds[0], tuple(prompts))], about_square(len(prompts))
    what, hint = f"a grid of {count * len(prompts)} images", "Make fewer, or use a smaller --zoom."
    check_pixels(
        what, columns * width, -(-count * len(prompts) // columns) * height, hint
    )  # before captions are fitted
    layout = ImageGrid(sections, columns, (width, height))
    check_pixels(what, *layout.size, hint)
    return zoom, layout


def _columns(prompts: Sequence[str], count: int) -> int:
    return count if len(prompts) > 1 else about_square(count)


def _save(data: bytes, path: str | Path, replace: bool) -> None:
    if Path(path).suffix.lower() != ".png":
        raise UsageError(str(path), "only PNG files are written", "Name a .png file.")
    check_target(str(path), replace)
    write_whole(str(path), data, replace)
