"""Formats of images by their first bytes, and whether a file's end is missing, as far as its format shows.

Only formats with a signature here reach a decoder, so that nothing exotic (PostScript, say) is ever executed.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from bigain_cli.errors import InputError

HEAD = 512  # bytes that show the format
_TAIL = 1 << 16  # bytes that show the end
_SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF.{4}WEBP",
    "AVIF": rb".{4}ftyp(?:avi[fs]|m(?:if|sf)1.{4}(?:.{4})*?avi[fs])",
    "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "PPM": rb"P[1-6fF]\s",
    "JPEG2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "ICO": rb"\x00\x00\x01\x00",
    "QOI": rb"qoif",
}
_SUFFIXES = {"JPEG": ".jpg", "JPEG2000": ".jp2", "TIFF": ".tif"}  # of others, the name
_OTHER_KINDS = {
    "a HEIC image, which is not supported": rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)",
    "a web page": rb"\s*<(?:!doctype html|html)",
    "an SVG drawing": rb"\s*<(?:svg|\?xml.*<svg)",
    "a PDF document": rb"%PDF",
    "a zip archive": rb"PK\x03\x04",
    "a video": rb".{4}ftyp|\x1a\x45\xdf\xa3",
}


def format_of(head: bytes, name: str) -> str:
    """Return the format of an image that begins with these bytes; refuse anything else."""
    if not head:
        raise InputError("empty-file", name, "the file is empty (0 bytes)", "Copy or download it again")
    for kind, signature in _SIGNATURES.items():
        if re.match(signature, head, re.DOTALL):
            return kind
    why = f"not an image but {_other_kind(head)}"
    raise InputError("not-an-image", name, why, "Convert it to JPEG or PNG")


def suffix_of(data: bytes) -> str:
    """Return the usual suffix of an image with these bytes."""
    kind = format_of(data[:HEAD], "image")
    return _SUFFIXES.get(kind, f".{kind.lower()}")


def is_truncated(kind: str, stream: BinaryIO) -> bool:
    """Return whether the end of a file is missing, as far as its format shows."""
    size = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(16)
    stream.seek(max(0, size - _TAIL))
    tail = stream.read(_TAIL)
    match kind:
        case "AVIF":
            return _boxes_overrun(stream, size)
        case "JPEG" | "JPEG2000":
            return b"\xff\xd9" not in tail
        case "PNG":
            return b"IEND" not in tail
        case "GIF":
            return not tail.rstrip(b"\0").endswith(b";")
        case "WEBP":
            return int.from_bytes(head[4:8], "little") + 8 > size
        case "BMP":
            return int.from_bytes(head[2:6], "little") > size
        case "TIFF":
            return int.from_bytes(head[4:8], "little" if head[:1] == b"I" else "big") >= size
    return False


def _other_kind(head: bytes) -> str:
    """Name the kind of a file that is not an image."""
    for name, signature in _OTHER_KINDS.items():
        if re.match(signature, head, re.DOTALL | re.IGNORECASE):
            return name
    return "text" if head.isascii() and b"\0" not in head else "data of an unknown kind"


def _boxes_overrun(stream: BinaryIO, size: int) -> bool:
    """Return whether the boxes of an ISO media file reach beyond its end."""
    start = 0
    while start + 8 <= size:
        stream.seek(start)
        length = int.from_bytes(stream.read(4), "big")
        if length < 8:  # to the end of the file, or too big for this format
            return False
        start += length
    return start != size
