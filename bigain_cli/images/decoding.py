"""Decode one source: an upright RGB image out, or an `InputError` whose kind and text are the same in every run.

Only formats with a signature here reach a decoder, so that nothing exotic (PostScript, say) is ever executed.
"""

# os.path returns False where pathlib raises: names that are too long, folders without permission.
from __future__ import annotations

import ctypes
import functools
import hashlib
import io
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from bigain_cli.errors import InputError
from bigain_cli.images.sources import Source

if TYPE_CHECKING:
    from PIL.Image import Image

LIMIT = 178_956_970  # pixels; Pillow's own limit for an error (it warns at half of that)
_TRUNCATED = r"truncated|reached eof|not enough image data"
_HEAD, _TAIL = 512, 1 << 16  # bytes
_LOCK = threading.RLock()
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
_OTHER_KINDS = {
    "a HEIC image, which is not supported": rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)",
    "a web page": rb"\s*<(?:!doctype html|html)",
    "an SVG drawing": rb"\s*<(?:svg|\?xml.*<svg)",
    "a PDF document": rb"%PDF",
    "a zip archive": rb"PK\x03\x04",
    "a video": rb".{4}ftyp|\x1a\x45\xdf\xa3",
}


def read(source: Source) -> Image:
    """Return the source's image, upright, first frame, over white, in RGB."""
    if source.error is not None:
        raise source.error
    with _open(source) as stream:
        return _decode(stream, source.id)


def data_of(source: Source) -> bytes:
    """Return the bytes of a source that is not a path: those it holds, or those behind its URL."""
    if source.url is None:
        return source.data or b""
    from bigain_cli.images.fetching import fetch

    return fetch(source.url)


def digest(image: Image) -> bytes:
    """Return the fingerprint of an RGB image's content: blake2b of mode, size and pixels."""
    fingerprint = hashlib.blake2b(f"{image.mode} {image.width} {image.height} ".encode(), digest_size=32)
    for top in range(0, image.height, 64):
        fingerprint.update(image.crop((0, top, image.width, min(top + 64, image.height))).tobytes())
    return fingerprint.digest()


@contextmanager
def _open(source: Source) -> Iterator[BinaryIO]:
    """Open a source as a stream in which one can seek, and explain why it cannot be opened or read."""
    if source.path is None:
        yield io.BytesIO(data_of(source))
        return
    try:
        with Path(source.path).open("rb") as file:
            yield file if file.seekable() else io.BytesIO(file.read())
    except (OSError, ValueError) as error:
        raise _open_error(source.id, source.path, error) from error


def _open_error(name: str, path: str, error: OSError | ValueError) -> InputError:
    """Return the error for a file that cannot be opened or read."""
    if isinstance(error, PermissionError):
        return InputError("permission-denied", name, "no permission to read it", "Check its permissions")
    if isinstance(error, IsADirectoryError):
        return InputError("is-a-folder", name, "a folder, not a file", "Name the files in it")
    if os.path.islink(path) and not os.path.exists(path):
        return InputError("not-found", name, f"a link to {os.readlink(path)}, which is missing", "Repair the link")
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return InputError("not-found", name, "no such file", "Check the path")
    return InputError("unreadable-image", name, f"cannot be read ({error.strerror})", "Check the disk")


def _decode(stream: BinaryIO, name: str) -> Image:
    """Decode a stream whose format is known and supported."""
    from PIL import Image

    from bigain_cli.images import rgb

    kind, size = _format_and_size(stream, name)
    try:
        with _strict_pillow(), Image.open(stream, formats=[kind]) as image:
            image.load()
            if kind == "JPEG2000" and _is_truncated(kind, stream):  # its decoder fills a missing end with blank pixels
                raise OSError("truncated codestream")
            return rgb.upright_rgb(image)
    except Image.DecompressionBombError as error:
        why = f"a {kind} of more than {LIMIT} pixels, maybe a decompression bomb"
        raise InputError("decompression-bomb", name, why, "Shrink it first if you trust it") from error
    except Exception as error:  # a decoder may raise almost anything for a broken file
        if re.search(_TRUNCATED, str(error), re.IGNORECASE) or _is_truncated(kind, stream):
            why = f"truncated {kind} (file ends after {size} bytes)"
            raise InputError("truncated-image", name, why, "Copy or download it again") from error
        raise InputError("unreadable-image", name, f"broken {kind} ({_error_text(error)})", "Save it again") from error


def _format_and_size(stream: BinaryIO, name: str) -> tuple[str, int]:
    """Return a stream's image format, by its first bytes, and its size in bytes."""
    head, size = stream.read(_HEAD), stream.seek(0, 2)
    if not head:
        raise InputError("empty-file", name, "the file is empty (0 bytes)", "Copy or download it again")
    for kind, signature in _SIGNATURES.items():
        if re.match(signature, head, re.DOTALL):
            return kind, size
    why = f"not an image but {_other_kind(head)}"
    raise InputError("not-an-image", name, why, "Convert it to JPEG or PNG")


def _other_kind(head: bytes) -> str:
    """Name the kind of a file that is not an image."""
    for name, signature in _OTHER_KINDS.items():
        if re.match(signature, head, re.DOTALL | re.IGNORECASE):
            return name
    return "text" if head.isascii() and b"\0" not in head else "data of an unknown kind"


def _error_text(error: Exception) -> str:
    """Return a decoder's message as one line that is the same in every run."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its text holds a memory address
        return "its header cannot be read"
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return " ".join(str(error).split()) or type(error).__name__


def _is_truncated(kind: str, stream: BinaryIO) -> bool:
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


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Refuse truncated images and those of more than `LIMIT` pixels; silence Pillow, its log and libtiff."""
    from PIL import Image, ImageFile

    log = logging.getLogger("PIL")
    with _LOCK:
        # Not catch_warnings: it replaces all filters of the process, and other threads may be running.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, log.level, _set_libtiff_handlers(None)
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = LIMIT // 2, False  # it warns there, fails at twice
        log.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before[:2]
            log.setLevel(before[2])
            _set_libtiff_handlers(before[3])


def _set_libtiff_handlers(handlers: tuple[int | None, ...] | None) -> tuple[int | None, ...]:
    """Set libtiff's error and warning handlers; return the previous ones.

    By default they write to stderr from C, such as "Fax4Decode: Bad code word" for a damaged TIFF, which no filter of
    Python's reaches; redirecting the stream would silence other threads, too.
    """
    setters = _libtiff_setters()
    return tuple(setter(handler) for setter, handler in zip(setters, handlers or (None, None), strict=False))


@functools.cache
def _libtiff_setters() -> tuple[Callable[[int | None], int | None], ...]:
    """Find the setters in Pillow's own library; where they cannot be found, libtiff writes to stderr."""
    from PIL import _imaging

    try:
        library: Any = ctypes.CDLL(_imaging.__file__)
        found = library.TIFFSetErrorHandler, library.TIFFSetWarningHandler
    except (OSError, AttributeError):
        return ()
    for setter in found:
        setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return found
