"""Bring a decoded image of any mode to upright 8-bit RGB over white.

Whole ranges are kept: 16-bit grey is scaled, not clipped; floats are scaled by their range.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST = 512  # pixels along the longer side of a view


def upright_rgb(image: Image) -> Image:
    """Return a loaded image as RGB, turned as its EXIF orientation says, without its metadata."""
    from PIL import ImageOps

    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (unreadable metadata does not make the pixels unreadable)
        pass
    rgb = _rgb(image)
    rgb.info = {}
    return rgb


def _rgb(image: Image) -> Image:
    """Convert any mode to RGB."""
    if image.mode == "F":
        return _from_float(image)
    if image.mode.startswith("I"):
        return _from_integers(image)
    if image.mode == "LAB":
        return _from_lab(image)
    if image.has_transparency_data:
        return _over_white(image)
    return image.convert("RGB")


def _over_white(image: Image) -> Image:
    """Put an image with any kind of transparency on white."""
    from PIL import Image as pillow

    layer = image.convert("RGBA")
    white = pillow.new("RGB", image.size, "white")
    white.paste(layer, mask=layer.getchannel("A"))
    return white


def _from_integers(image: Image) -> Image:
    """Scale 16-bit grey to 8 bits; wider integers by their range."""
    key = image.info.get("transparency")
    wide = image.convert("I")
    low, high = _extent(wide)
    if low < 0 or high > 65535:
        return _stretched(wide.convert("F"), low, high)
    grey = wide.point(_to_eight_bits(), "L")
    if isinstance(key, int):
        grey.paste(255, mask=wide.point([255 * (value == key) for value in range(65536)], "L"))
    return grey.convert("RGB")


@functools.cache
def _to_eight_bits() -> list[int]:
    """Tabulate v / 257, rounded: 65535 becomes 255 exactly."""
    return [(value + 128) // 257 for value in range(65536)]


def _from_float(image: Image) -> Image:
    """Read floats as 0 to 1 or 0 to 255 if they fit, else scale them by their range."""
    low, high = _extent(image)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("its pixel values are not finite")
    if low >= 0 and high <= 255:
        return _stretched(image, 0.0, 1.0 if high <= 1 else 255.0)
    return _stretched(image, low, high)


def _extent(image: Image) -> tuple[float, float]:
    """Return the least and the greatest value of an image of one band."""
    return cast("tuple[float, float]", image.getextrema())


def _stretched(image: Image, low: float, high: float) -> Image:
    """Map low..high of a float image to 0..255."""
    scale = 255.0 / (high - low) if high > low else 0.0
    offset = 0.5 - low * scale  # the half rounds: the conversion to L truncates
    return image.point(lambda value: value * scale + offset).convert("L").convert("RGB")


def _from_lab(image: Image) -> Image:
    """Convert CIE Lab through colour profiles; Pillow's own convert cannot."""
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None
    return converted


def view_of(image: Image, proportions: tuple[int, int], most: int = LONGEST) -> Image:
    """Return the largest central part with the proportions height × width, shrunk if necessary."""
    height, width = proportions
    scale = min(image.height / height, image.width / width, most / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return fitted(image, size)


def fitted(image: Image, size: tuple[int, int]) -> Image:
    """Return the largest central part with the proportions width × height, resized to them."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    return image if image.size == size else ImageOps.fit(image, size, Resampling.BICUBIC)
