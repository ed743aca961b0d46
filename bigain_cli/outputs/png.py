"""Images as PNG bytes with the settings that generated them in a text entry `bigain`, in JSON; and how to read these.

An image is no larger than what Pillow opens without a warning. Must not know networks.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bigain_cli.errors import UsageError
from bigain_cli.json_text import read_json

if TYPE_CHECKING:
    from PIL.Image import Image

ENTRY = "bigain"
MAX_PIXELS = 1024**3 // 12  # Pillow takes what is larger for an attack


def png(image: Image, settings: dict[str, Any]) -> bytes:
    """Return an image with its settings as PNG; the same image and settings give the same bytes."""
    from PIL.PngImagePlugin import PngInfo

    entries, stream = PngInfo(), io.BytesIO()
    entries.add_text(ENTRY, json.dumps(settings))  # ASCII, as plain text entries require
    image.save(stream, format="PNG", pnginfo=entries)
    return stream.getvalue()


def check_pixels(what: str, width: int, height: int, hint: str) -> tuple[int, int]:
    """Return an image's size; refuse one that is too large, before it is made."""
    if width * height > MAX_PIXELS:
        why = f"{width}x{height} pixels are more than the {MAX_PIXELS // 10**6} million that other programs open"
        raise UsageError(what, why, hint)
    return width, height


def settings_of(path: str) -> dict[str, Any]:
    """Return the settings that an image was generated with."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()  # entries may come after the pixels
            text = image.info.get(ENTRY)
    except OSError as problem:
        why = problem.strerror or "not a PNG that can be read"
        raise UsageError(path, why, "Give an image that bigain generate has written.") from problem
    except (ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise UsageError(path, f"broken PNG ({problem})", "Give a complete file.") from problem
    if text is None:
        hint = "Only images of bigain generate carry theirs, and editors and chats often drop them."
        raise UsageError(path, "no settings in it", hint)
    try:
        settings = read_json(text)
    except ValueError as problem:
        raise UsageError(path, f"its settings are broken ({problem})", "Give an unaltered image.") from problem
    if not isinstance(settings, dict):
        raise UsageError(path, "its settings are no table", "Give an unaltered image.")
    return settings


def tiled(images: Sequence[Image], columns: int) -> Image:
    """Return images of one size as a grid, row by row, white where none are left."""
    from PIL import Image

    width, height = images[0].size
    grid = Image.new("RGB", (columns * width, -(-len(images) // columns) * height), "white")
    for number, image in enumerate(images):
        down, across = divmod(number, columns)
        grid.paste(image, (across * width, down * height))
    return grid
