"""How much memory an image may take while it is decoded: some decoders need three times as much as others.

Must not know how images are decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bigain_cli.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_BYTES = 1_500_000_000  # 187 million pixels of plain RGB
READ_WHOLE = ("WEBP", "AVIF", "JPEG2000")  # by their decoders, however large the file is
# Measured peak, in bytes per pixel: the decoder's own copies and Pillow's; 5 more for transparency and wide numbers.
_BYTES_PER_PIXEL = {"WEBP": 16, "AVIF": 12, "JPEG2000": 20}
_PLAIN, _NOT_PLAIN = 8, 5


def check_memory(kind: str, image: Image, name: str) -> None:
    """Refuse an image, opened but not decoded, that would take too much memory."""
    each = _BYTES_PER_PIXEL.get(kind, _PLAIN)
    if image.has_transparency_data or image.mode[0] in "IF":
        each += _NOT_PLAIN
    needed = each * image.width * image.height
    if needed > MOST_BYTES:
        why = f"a {kind} of {image.width} × {image.height} pixels, which takes {needed / 1e9:.1f} GB to decode"
        raise InputError("decompression-bomb", name, why, "Shrink it first if you trust it")


def check_file_size(kind: str, size: int, name: str) -> None:
    """Refuse a file that its decoder would read whole, if it is too large for that."""
    if kind in READ_WHOLE and size > MOST_BYTES:
        why = f"a {kind} file of {size / 1e9:.1f} GB"
        raise InputError("too-large", name, why, "Shrink it first if you trust it")
