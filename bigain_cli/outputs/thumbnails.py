"""Images and maps as small data URLs, for pages that load nothing."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image as PIL
from PIL.Image import Image, Resampling

from bigain_cli.outputs.plotting import transparent_colours

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 160  # pixels of a thumbnail's longer side at most
LOSSLESS = 64  # pixels of the longer side up to which it is a PNG, because JPEG blurs what is enlarged
_COARSE = 96  # pixels of the longer side below which pixels stay visible where it is enlarged


@dataclass(frozen=True)
class Thumbnail:
    """A small image as a data URL."""

    url: str
    width: int
    height: int

    @property
    def is_coarse(self) -> bool:
        """Return whether its pixels should be seen."""
        return max(self.width, self.height) < _COARSE


def thumbnail(image: Image) -> Thumbnail:
    """Shrink an image."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE), Resampling.LANCZOS)
    if max(small.size) <= LOSSLESS:
        return _encoded(small, "PNG", optimize=True)
    return _encoded(small, "JPEG", quality=80, optimize=True)


def map_thumbnail(values: NDArray, limit: float) -> Thumbnail:
    """Colour a map on a scale from −`limit` to `limit`; zero is clear, so that it can lie on the image, or on white."""
    import numpy as np

    levels = np.rint((values / limit).clip(-1, 1) * 127 + 127).astype(np.uint8)  # 127 is zero
    image = PIL.fromarray(levels, "L")
    image.thumbnail((SIDE, SIDE), Resampling.BOX)
    image = PIL.frombytes("P", image.size, image.tobytes())
    colours = transparent_colours(np.arange(-127.0, 128.0)[None], 127.0)[0]
    image.putpalette(colours[:, :3].tobytes())
    return _encoded(image, "PNG", optimize=True, transparency=colours[:, 3].tobytes())


def _encoded(image: Image, form: str, **options: bool | int | bytes) -> Thumbnail:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(f"data:image/{form.lower()};base64,{data}", *image.size)
