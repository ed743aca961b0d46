"""Pictures and maps small enough to be part of a page, as data URLs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image as PIL
from PIL.Image import Image, Resampling

from bigain_cli.outputs.plotting import DIVERGING

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 160  # pixels of the longer side at most
LOSSLESS = 64  # up to this side, because JPEG smears what is shown enlarged


@dataclass(frozen=True)
class Thumbnail:
    """A small picture."""

    url: str
    width: int
    height: int


def thumbnail(picture: Image) -> Thumbnail:
    """Shrink a picture."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE), Resampling.LANCZOS)
    if max(small.size) <= LOSSLESS:
        return _encoded(small, "PNG", optimize=True)
    return _encoded(small, "JPEG", quality=80, optimize=True)


def map_of(values: NDArray, end: float) -> Thumbnail:
    """Colour a map on a scale from −`end` to `end`, white where it is zero."""
    import numpy as np
    from matplotlib import colormaps

    levels = np.rint((values / end).clip(-1, 1) * 127 + 127).astype(np.uint8)  # 127 is zero
    picture = PIL.fromarray(levels, "L")
    picture.thumbnail((SIDE, SIDE), Resampling.BOX)
    picture = PIL.frombytes("P", picture.size, picture.tobytes())
    palette = colormaps[DIVERGING](np.linspace(0, 1, 255))[:, :3]
    picture.putpalette((palette * 255).round().astype(np.uint8).tobytes())
    return _encoded(picture, "PNG", optimize=True)


def _encoded(picture: Image, form: str, **options: bool | int) -> Thumbnail:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(f"data:image/{form.lower()};base64,{data}", *picture.size)
