"""How much an image is enlarged before it is written, and how: 4 times its pixels, or 4:lanczos. Torch-free."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bigain_cli.errors import UsageError
from bigain_cli.outputs.png import check_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

FILTERS = ("nearest", "lanczos")  # square pixels, or smooth ones
MOST = 64
LEGIBLE = 128  # pixels of an image's longer side below which a grid enlarges it


@dataclass(frozen=True)
class Zoom:
    """A whole factor, and the filter."""

    times: int = 1
    filter: str = FILTERS[0]

    def __post_init__(self) -> None:
        if not 1 <= self.times <= MOST or self.filter not in FILTERS:
            raise _refused(str(self))

    def __str__(self) -> str:
        return str(self.times) if self.filter == FILTERS[0] else f"{self.times}:{self.filter}"

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of an enlarged image; refuse one that is too large, before it is made."""
        width, height = (self.times * side for side in size)
        check_pixels(f"--zoom {self}", width, height, "Use a smaller one.")
        return width, height

    def enlarged(self, image: Image) -> Image:
        """Return the enlarged image."""
        from PIL.Image import Resampling

        size = self.size(image.size)
        return image if self.times == 1 else image.resize(size, Resampling[self.filter.upper()])


def as_zoom(given: Zoom | int | str) -> Zoom:
    """Return a zoom from a factor, or from text such as 4 or 4:lanczos."""
    if isinstance(given, Zoom):
        return given
    found = re.fullmatch(r"([0-9]{1,4})(?::(\w+))?", str(given), re.ASCII)
    if found is None or isinstance(given, bool):
        raise _refused(str(given))
    return Zoom(int(found[1]), found[2] or FILTERS[0])


def grid_zoom(size: tuple[int, int]) -> Zoom:
    """Return how much the images of a grid are enlarged if nothing is said: until they are large enough to see."""
    return Zoom(min(max(-(-LEGIBLE // max(size)), 1), MOST))


def _refused(text: str) -> UsageError:
    why = f"not a whole number from 1 to {MOST}, alone or with :{' or :'.join(FILTERS)}"
    return UsageError(f"--zoom {text}", why, "Write --zoom 4 or --zoom 4:lanczos.")
