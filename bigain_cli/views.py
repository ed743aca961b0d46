"""Views: a draw may see its image mirrored and moved by a few pixels, so that no answer hangs on one framing.

In: a text such as `mirror+move:1`, and random numbers; out: a view, and which pixels of the image it shows. What a
view shows beyond the image's edge is the image mirrored there. Must not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bigain_cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

NONE, MIRROR, MOVE = "none", "mirror", "move"
HINT = "Write mirror, move:1, mirror+move:1 or none."


@dataclass(frozen=True)
class View:
    """One view of an image: first moved, then mirrored."""

    mirrored: bool = False
    down: int = 0  # pixels
    right: int = 0

    def sources(self, height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which row and which column of the image each row and column of the view shows."""
        columns = _inside(self.right, width)
        return _inside(self.down, height), columns[::-1] if self.mirrored else columns

    def nearest(self, height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the same, but for what is beyond the image's edge the row or column at the edge."""
        import numpy as np

        columns = (np.arange(width) + self.right).clip(0, width - 1)
        return (np.arange(height) + self.down).clip(0, height - 1), columns[::-1] if self.mirrored else columns

    def of(self, image: Image) -> Image:
        """Return what the view shows."""
        import numpy as np
        from PIL import Image as PIL

        if self == View():
            return image
        rows, columns = self.sources(image.height, image.width)
        return PIL.fromarray(np.asarray(image)[rows][:, columns])

    def coarser(self, factor: int) -> View:
        """Return the same view on a grid whose squares are so many pixels wide."""
        return View(self.mirrored, round(self.down / factor), round(self.right / factor))


def _inside(shift: int, size: int) -> NDArray[np.int64]:
    """Return the places shift, shift + 1, … of a row of pixels that is mirrored at its ends."""
    import numpy as np

    period = max(1, 2 * size - 2)
    places = np.abs(np.arange(size) + shift) % period
    return np.where(places >= size, period - places, places)


@dataclass(frozen=True)
class Views:
    """The views that draws take: half of them mirrored, moved by up to `move` pixels in both directions, or plain."""

    mirror: bool = False
    move: int = 0

    def __bool__(self) -> bool:
        return self.mirror or self.move > 0

    def __str__(self) -> str:
        parts = [MIRROR] * self.mirror + [f"{MOVE}:{self.move}"] * (self.move > 0)
        return "+".join(parts) or NONE

    def choose(self, index: int, side: int, place: int) -> View:
        """Return the view of a draw; `side` and `place` are random, `side` the same for all draws of an image.

        Of each two draws one is mirrored, in an order that is not that of their times (the Thue-Morse sequence).
        """
        mirrored = self.mirror and (index.bit_count() + side) % 2 == 1
        down, right = (place // (2 * self.move + 1) ** power % (2 * self.move + 1) for power in (0, 1))
        return View(mirrored, down - self.move, right - self.move)

    def check(self, size: tuple[int, int], what: str) -> None:
        """Refuse a move that leaves little of an image of that size."""
        most = (min(size) - 1) // 2
        if self.move > most:
            why = f"its images are {min(size)} pixels wide, so at most {most} leave half of them"
            raise UsageError(f"--views {self} with {what}", why, "Lower it.")


PLAIN = Views()


def read_views(text: str) -> Views:
    """Read `none`, `mirror`, `move:PIXELS`, or both with a plus sign between them."""
    if not isinstance(text, str):
        raise UsageError(f"views {text!r}", "not a text", HINT)
    parts = text.split("+")
    names = [part.partition(":")[0] for part in parts]
    if text == NONE:
        return PLAIN
    moves = [part.partition(":")[2] for part in parts if part.partition(":")[0] == MOVE]
    known = all(part == MIRROR or part.startswith(f"{MOVE}:") for part in parts)
    if not known or len(set(names)) < len(names) or not all(_is_count(move) for move in moves):
        raise UsageError(f"--views {text}", "unknown views", HINT)
    return Views(MIRROR in names, int(moves[0]) if moves else 0)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4 and int(text) >= 1
