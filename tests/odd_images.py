"""A folder of bad and odd image files, made for a test, with the result that is expected for each.

`make_odd_folder(path)` returns {file name: error kind, or None for a file that can be read}; the other entries of the
folder (a sub-folder named like an image, a hidden file, a text file) must not be found at all.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

from PIL import Image

RED, WHITE, BLUE = (255, 0, 0), (255, 255, 255), (0, 0, 255)


def corners(size: int = 16) -> Image.Image:
    """Return an image that differs after every rotation: red top left, blue top right, else white."""
    image = Image.new("RGB", (size, size), WHITE)
    image.paste(RED, (0, 0, size // 2, size // 2))
    image.paste(BLUE, (size // 2, 0, size, size // 2))
    return image


def busy(size: int = 64) -> Image.Image:
    """Return an image that no format stores in few bytes, the same each time."""
    slope, bowl = (Image.linear_gradient("L").resize((size, size)), Image.radial_gradient("L").resize((size, size)))
    return Image.merge("RGB", (slope, slope.rotate(90), bowl))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG of a given size without pixel data."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0")),
        (b"IEND", b""),
    )
    body = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def oriented(orientation: int) -> bytes:
    """Return a JPEG with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(corners(), "JPEG", exif=exif, quality=95, subsampling=0)


def animated() -> bytes:
    """Return a GIF whose first frame is red, and whose second is blue."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


def palette_with_alpha() -> Image.Image:
    """Return a palette image, red on the left half and nothing on the right."""
    image = Image.new("P", (8, 8), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (4, 0, 8, 8))
    return image


def make_odd_folder(path: Path) -> dict[str, str | None]:
    """Fill a new folder with odd files; the expectation for each holds for a process without root's powers."""
    path.mkdir(parents=True)
    jpeg, png, gif = encoded(corners(64), "JPEG"), encoded(busy(), "PNG"), encoded(busy(), "GIF")
    grey = Image.linear_gradient("L").resize((8, 8))
    files: dict[str | bytes, tuple[bytes, str | None]] = {
        "animated.gif": (animated(), None),
        "bits.png": (encoded(grey.convert("1"), "PNG"), None),
        "bomb.png": (png_header(50_000, 50_000), "decompression-bomb"),
        "broken.png": (png[:20] + b"\xff" * 20 + png[40:], "unreadable-image"),
        "cmyk.jpg": (encoded(corners().convert("CMYK"), "JPEG"), None),
        "empty.jpg": (b"", "empty-file"),
        "float.tif": (encoded(grey.convert("F"), "TIFF"), None),
        "grey16.png": (encoded(Image.new("I;16", (8, 8), 40_000), "PNG"), None),
        "grey-alpha.png": (encoded(Image.new("LA", (8, 8), (90, 128)), "PNG"), None),
        "header-only.jpg": (jpeg[:30], "truncated-image"),
        "new\nline.jpg": (jpeg, None),
        "page.jpg": (b"<!DOCTYPE html><html><body>404</body></html>", "not-an-image"),
        "palette-alpha.png": (encoded(palette_with_alpha(), "PNG", transparency=bytes([255, 0])), None),
        "plain.jpg": (jpeg, None),
        "png-inside.jpg": (png, None),
        "rotated.jpg": (oriented(6), None),
        "text.jpg": (b"This is no image.\n" * 9, "not-an-image"),
        "transparent.webp": (encoded(Image.new("RGBA", (8, 8), (0, 0, 255, 100)), "WEBP"), None),
        "truncated.gif": (gif[: len(gif) // 2], "truncated-image"),
        "truncated.jpg": (jpeg[: len(jpeg) * 2 // 3], "truncated-image"),
        "truncated.png": (png[: len(png) // 2], "truncated-image"),
        "unreadable.jpg": (jpeg, "permission-denied"),
        b"latin-\xe9.jpg": (jpeg, None),
    }
    for name, (data, _) in files.items():
        _write(path, name, data)
    (path / "unreadable.jpg").chmod(0)
    (path / "dangling.jpg").symlink_to("gone.jpg")
    (path / "loop.jpg").symlink_to("loop.jpg")
    _add_unseen(path, jpeg)
    expected = {os.fsdecode(name): kind for name, (_, kind) in files.items()}
    return {**expected, "dangling.jpg": "not-found", "loop.jpg": "not-found"}


def _write(folder: Path, name: str | bytes, data: bytes) -> None:
    """Write a file whose name may be bytes."""
    (folder / os.fsdecode(name)).write_bytes(data)


def _add_unseen(folder: Path, jpeg: bytes) -> None:
    """Add entries that a scan of the folder alone must skip."""
    (folder / "folder.jpg").mkdir()
    (folder / "folder.jpg" / "inside.jpg").write_bytes(jpeg)
    (folder / ".hidden.jpg").write_bytes(jpeg)
    (folder / "notes.md").write_text("no image")


def without_root_powers() -> list[str] | None:
    """Return the prefix of a command that makes file permissions apply to root; None where there is none."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        return None
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
