"""Convert a decoded image of any mode to upright 8-bit RGB over white, and crop and resize such images.

16-bit grey is scaled, not clipped; floats are scaled by their range.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST = 512  # pixels along the longer side of an image to show


def upright_rgb(image: Image, keep: bool = False) -> Image:
    """Return a loaded image as RGB, turned as its EXIF orientation says, without its metadata.

    The image itself is turned, too, which saves a copy, unless it is to be kept as it is.
    """
    from PIL import ImageOps

    turned = image
    try:
        if keep:
            turned = ImageOps.exif_transpose(image)
        else:
            ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (unreadable metadata does not make the pixels unreadable)
        pass
    rgb = _to_rgb(turned)
    rgb.info = {}
    return rgb


def _to_rgb(image: Image) -> Image:
    """Convert any mode to RGB."""
    if image.mode == "F":
        return _rgb_of_floats(image)
    if image.mode.startswith("I"):
        return _rgb_of_integers(image)
    if image.mode == "LAB":
        return _rgb_of_lab(image)
    if image.has_transparency_data:
        return _paste_on_white(image)
    return image.convert("RGB")


def _paste_on_white(image: Image) -> Image:
    """Paste an image with any kind of transparency on white."""
    from PIL import Image as pillow

    layer = image.convert("RGBA")
    white = pillow.new("RGB", image.size, "white")
    white.paste(layer, mask=layer.getchannel("A"))
    return white


def _rgb_of_integers(image: Image) -> Image:
    """Scale 16-bit grey to 8 bits; wider integers by their range."""
    transparent = image.info.get("transparency")
    wide = image.convert("I")
    low, high = _value_range(wide)
    if low < 0 or high > 65535:
        return _scaled_to_rgb(wide.convert("F"), low, high)
    grey = wide.point([(value + 128) // 257 for value in range(65536)], "L")  # v / 257, rounded: 65535 becomes 255
    if isinstance(transparent, int):
        grey.paste(255, mask=wide.point([255 * (value == transparent) for value in range(65536)], "L"))
    return grey.convert("RGB")


def _rgb_of_floats(image: Image) -> Image:
    """Read floats as 0 to 1 or 0 to 255 if they fit, else scale them by their range."""
    low, high = _value_range(image)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("its pixel values are not finite")
    if low >= 0 and high <= 255:
        return _scaled_to_rgb(image, 0.0, 1.0 if high <= 1 else 255.0)
    return _scaled_to_rgb(image, low, high)


def _value_range(image: Image) -> tuple[float, float]:
    """Return the least and the greatest value of an image of one band."""
    return cast("tuple[float, float]", image.getextrema())


def _scaled_to_rgb(image: Image, low: float, high: float) -> Image:
    """Map low … high of a float image to 0 … 255."""
    scale = 255.0 / (high - low) if high > low else 0.0
    offset = 0.5 - low * scale  # the half rounds: the conversion to L truncates
    return image.point(lambda value: value * scale + offset).convert("L").convert("RGB")


def _rgb_of_lab(image: Image) -> Image:
    """Convert CIE Lab through colour profiles; Pillow's own convert cannot."""
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None
    return converted


def center_crop(image: Image, proportions: tuple[int, int]) -> Image:
    """Return the largest central part with the proportions height × width, shrunk if it is very large."""
    height, width = proportions
    scale = min(image.height / height, image.width / width, LONGEST / max(height, width))
    return crop_and_resize(image, (max(1, round(width * scale)), max(1, round(height * scale))))


def crop_and_resize(image: Image, size: tuple[int, int]) -> Image:
    """Return the largest central part with the proportions width × height, resized to that size."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    return image if image.size == size else ImageOps.fit(image, size, Resampling.BICUBIC)
