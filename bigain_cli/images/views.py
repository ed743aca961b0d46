"""A picture as a model sees it, kept small enough to be shown to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

MOST = 512  # pixels along the longer side


def view_of(image: Image, proportions: tuple[int, int], most: int = MOST) -> Image:
    """Return the largest central part with the proportions height × width, shrunk if need be."""
    height, width = proportions
    scale = min(image.height / height, image.width / width, most / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return fitted(image, size)


def fitted(image: Image, size: tuple[int, int]) -> Image:
    """Return the largest central part with the proportions width × height, resized to them."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    return image if image.size == size else ImageOps.fit(image, size, Resampling.BICUBIC)
