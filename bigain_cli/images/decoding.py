"""Decode one source: an upright RGB image out, or an `InputError` whose kind and text are the same in every run.

Must not know where sources come from.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from bigain_cli.errors import InputError, one_line
from bigain_cli.images.formats import HEAD, format_of, is_truncated
from bigain_cli.images.jpeg_check import jpeg_damage
from bigain_cli.images.libtiff import Message, caught_messages
from bigain_cli.images.memory_limits import check_file_size, check_memory
from bigain_cli.images.opening import opened
from bigain_cli.images.png_check import count_png_data
from bigain_cli.images.sources import Source

if TYPE_CHECKING:
    from PIL.Image import Image

LIMIT = 178_956_970  # pixels; Pillow's own limit for an error (it warns at half of that)
_TRUNCATED = r"truncated|reached eof|not enough image data"
_LOCK = threading.RLock()


@dataclass(frozen=True)
class Decoded:
    """An image, and what its decoder had to make up a part of it for; nothing for a whole one."""

    image: Image
    damage: str = ""


def read(source: Source) -> Image:
    """Return the source's image, upright, first frame, over white, in RGB."""
    return read_and_check(source).image


def read_and_check(source: Source) -> Decoded:
    """Return the source's image, as `read` does, and its damage."""
    if source.error is not None:
        raise source.error
    with opened(source) as stream:
        return _decode(stream, source.id)


def upright(image: Image) -> Image:
    """Return an opened image as `read` returns that of its file, and one that was made of others in RGB.

    Of a made one Pillow keeps the notes of the image it was made of: its orientation, although it may have been turned,
    and the colour that was transparent. So they are not believed. The image itself stays as it is.
    """
    from bigain_cli.images import rgb

    image.load()  # raises what is wrong with a damaged file
    return image.convert("RGB") if image.format is None else rgb.upright_rgb(image, keep=True)


def digest(image: Image) -> bytes:
    """Return the fingerprint of an RGB image's content: blake2b of mode, size and pixels."""
    fingerprint = hashlib.blake2b(f"{image.mode} {image.width} {image.height} ".encode(), digest_size=32)
    for top in range(0, image.height, 64):
        fingerprint.update(image.crop((0, top, image.width, min(top + 64, image.height))).tobytes())
    return fingerprint.digest()


def _decode(stream: BinaryIO, name: str) -> Decoded:
    """Decode a stream whose format is known and supported."""
    from PIL import Image

    kind, size = format_of(stream.read(HEAD), name), stream.seek(0, 2)
    check_file_size(kind, size, name)
    try:
        with _strict_pillow() as messages:
            image = _upright_rgb(stream, kind, name)
            damage = _damage(kind, stream, name) or next((each.text for each in messages if each.is_error), "")
        return Decoded(image, damage)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        why = f"a {kind} of more than {LIMIT} pixels, maybe a decompression bomb"
        raise InputError("decompression-bomb", name, why, "Shrink it first if you trust it") from error
    except Exception as error:  # a decoder may raise almost anything for a broken file
        if re.search(_TRUNCATED, str(error), re.IGNORECASE) or is_truncated(kind, stream):
            why = f"truncated {kind} (file ends after {size} bytes)"
            raise InputError("truncated-image", name, why, "Copy or download it again") from error
        raise InputError("unreadable-image", name, f"broken {kind} ({_error_text(error)})", "Save it again") from error


def _upright_rgb(stream: BinaryIO, kind: str, name: str) -> Image:
    from PIL import Image

    from bigain_cli.images import rgb

    with Image.open(stream, formats=[kind]) as image:
        check_memory(kind, image, name)
        image.load()
        return rgb.upright_rgb(image)


def _damage(kind: str, stream: BinaryIO, name: str) -> str:
    """Return what is wrong with a file that was decoded to the end; refuse one without an end."""
    match kind:
        case "JPEG2000" if is_truncated(kind, stream):  # its decoder fills a missing end with blank pixels
            raise OSError("truncated codestream")
        case "JPEG":
            return jpeg_damage(stream) or ""
        case "PNG" if data := count_png_data(stream):
            if data.found < data.expected:  # so does this one
                why = f"truncated PNG (its data end after {data.found} of {data.expected} bytes)"
                raise InputError("truncated-image", name, why, "Copy or download it again")
            return "" if data.checksums_fit else "a checksum does not fit"
    return ""


def _error_text(error: Exception) -> str:
    """Return a decoder's message as one line that is the same in every run."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its text holds a memory address
        return "its header cannot be read"
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return one_line(error)


@contextmanager
def _strict_pillow() -> Iterator[list[Message]]:
    """Refuse truncated images and those of more than `LIMIT` pixels; silence Pillow and its log, and catch libtiff."""
    from PIL import Image, ImageFile

    log = logging.getLogger("PIL")
    with _LOCK:
        # Not catch_warnings: it replaces all filters of the process, and other threads may be running.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, log.level
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = LIMIT // 2, False  # it warns there, fails at twice
        log.setLevel(logging.CRITICAL + 1)
        try:
            with caught_messages() as messages:
                yield messages
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before[:2]
            log.setLevel(before[2])
