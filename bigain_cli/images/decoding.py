"""Read one source: upright RGB pixels out, or an `InputError` of a stable kind; files are closed either way.

A broken image may raise nearly anything in a decoder; here it becomes one sentence that is the same in every run.
"""

# os.path says no where pathlib raises: names too long, folders that are closed.
from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bigain_cli.errors import InputError
from bigain_cli.images.signatures import cut, sniff, stranger
from bigain_cli.images.sources import Source

if TYPE_CHECKING:
    from PIL.Image import Image

LIMIT = 178_956_970  # pixels; Pillow's own limit for an error (it warns at half of it)
_TRUNCATED = r"truncated|reached eof|not enough image data"
_HEAD = 512


def read(source: Source) -> Image:
    """Return the source's image, upright, first frame, over white, in RGB."""
    if source.error is not None:
        raise source.error
    with _opened(source) as stream:
        return _decode(stream, source.id)


def digest(image: Image) -> bytes:
    """Name an RGB image by its content: blake2b of mode, size and pixels."""
    name = hashlib.blake2b(f"{image.mode} {image.width} {image.height} ".encode(), digest_size=32)
    for top in range(0, image.height, 64):
        name.update(image.crop((0, top, image.width, min(top + 64, image.height))).tobytes())
    return name.digest()


@contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    """Open a source for reading from anywhere in it; a pipe is read whole."""
    if source.data is not None or source.path is None:
        yield io.BytesIO(source.data or b"")
        return
    try:
        file = Path(source.path).open("rb")  # noqa: SIM115 (closed below)
    except (OSError, ValueError) as error:
        raise _unopened(source.id, source.path, error) from error
    with file:
        try:
            seekable = file if file.seekable() else io.BytesIO(file.read())
        except OSError as error:
            raise _unopened(source.id, source.path, error) from error
        yield seekable


def _unopened(name: str, path: str, error: OSError | ValueError) -> InputError:
    """Say why a file cannot be opened."""
    if isinstance(error, PermissionError):
        return InputError("permission-denied", name, "no permission to read it", "Check its permissions")
    if isinstance(error, IsADirectoryError):
        return InputError("is-a-folder", name, "a folder, not a file", "Name the files in it")
    if os.path.islink(path) and not os.path.exists(path):
        return InputError("not-found", name, f"a link to {os.readlink(path)}, which is missing", "Mend the link")
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return InputError("not-found", name, "no such file", "Check the path")
    return InputError("unreadable-image", name, f"cannot be read ({error.strerror})", "Check the disk")


def _decode(stream: BinaryIO, name: str) -> Image:
    """Decode a stream whose format is known and supported."""
    from PIL import Image

    from bigain_cli.images import rgb
    from bigain_cli.images.strictness import strict

    kind, size = _identified(stream, name)
    try:
        with strict(LIMIT), Image.open(stream, formats=[kind]) as image:
            image.load()
            if kind == "JPEG2000" and cut(kind, stream):  # its decoder takes a missing end for blank pixels
                raise OSError("truncated codestream")
            return rgb.upright_rgb(image)
    except Image.DecompressionBombError as error:
        why = f"a {kind} of more than {LIMIT} pixels, maybe a decompression bomb"
        raise InputError("decompression-bomb", name, why, "Shrink it first if you trust it") from error
    except Exception as error:  # decoders of broken files raise nearly everything
        if re.search(_TRUNCATED, str(error), re.IGNORECASE) or cut(kind, stream):
            why = f"truncated {kind} (file ends after {size} bytes)"
            raise InputError("truncated-image", name, why, "Copy or download it again") from error
        raise InputError("unreadable-image", name, f"broken {kind} ({_reason(error)})", "Save it anew") from error


def _identified(stream: BinaryIO, name: str) -> tuple[str, int]:
    """Return a stream's format and size in bytes."""
    try:
        head, size = stream.read(_HEAD), stream.seek(0, 2)
    except OSError as error:
        raise InputError("unreadable-image", name, f"cannot be read ({error.strerror})", "Check the disk") from error
    if not head:
        raise InputError("empty-file", name, "the file is empty (0 bytes)", "Copy or download it again")
    kind = sniff(head)
    if kind is None:
        raise InputError("not-an-image", name, f"not an image but {stranger(head)}", "Convert it to JPEG or PNG")
    return kind, size


def _reason(error: Exception) -> str:
    """Put a decoder's complaint in a line that is the same in every run."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its text holds a memory address
        return "its header cannot be read"
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return " ".join(str(error).split()) or type(error).__name__
