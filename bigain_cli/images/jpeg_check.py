"""Did a JPEG's decoder have to make up pixels? libjpeg warns of it, but Pillow drops its warnings.

Pillow's libtiff does not: the file is decoded once more, as the one strip of a TIFF that exists in memory only. Without
that library, for rare layouts of components and for files of more than `MOST_BYTES` there is no answer.
"""

from __future__ import annotations

import ctypes
import functools
import io
import re
import struct
from collections.abc import Iterator
from ctypes import c_char_p, c_int, c_ssize_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any, BinaryIO

from bigain_cli.images.libtiff import caught_messages, library

MOST_BYTES = 1 << 28
MADE_UP = re.compile(r"premature end|bad (Huffman|arithmetic) code|found marker 0x\w+ instead of RST")
SURPLUS = re.compile(r"(\d+) extraneous bytes before marker 0x(\w+)")
END, LEAST_SURPLUS = "d9", 16  # some cameras leave a few bytes before the last marker
_FRAMES = {*range(0xC0, 0xCB)} - {0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8}  # baseline, extended, progressive; arithmetic
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_PHOTOMETRIC = {1: 1, 3: 6, 4: 5}  # TIFF's grey, YCbCr and CMYK, by the number of components
_SHORT, _LONG = 3, 4  # types of TIFF's fields

_READ = ctypes.CFUNCTYPE(c_ssize_t, c_void_p, c_void_p, c_ssize_t)
_SEEK = ctypes.CFUNCTYPE(c_uint64, c_void_p, c_uint64, c_int)
_NUMBER = ctypes.CFUNCTYPE(c_uint64, c_void_p)


@dataclass(frozen=True)
class Frame:
    """What a JPEG's header says of its image, and where the compressed data begin."""

    height: int
    width: int
    components: int
    sampling: tuple[int, int]  # of the first component
    scan: int  # offset
    is_clean: bool  # no bytes between the segments of the header


def jpeg_damage(stream: BinaryIO) -> str | None:
    """Return what libjpeg says of missing or broken data, or None if the image is whole or cannot be checked.

    Must not run in two threads at a time.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    if size > MOST_BYTES or _functions() is None:
        return None
    data = stream.read()
    frame = read_frame(data)
    if frame is None or frame.components not in _PHOTOMETRIC or not frame.height:
        return None
    for text in _warnings(_as_tiff(frame, data)):  # libjpeg gives its first one only
        if MADE_UP.search(text) or (frame.is_clean and _is_surplus(text, data, frame.scan)):
            return re.sub(r"^Corrupt JPEG data: ", "", text)
    return None


def read_frame(data: bytes) -> Frame | None:
    """Read the header up to the first scan; None if there is none, or one that TIFF cannot hold."""
    found: tuple[int, int, int, tuple[int, int]] | None = None
    place, is_clean = 2, True
    while 0 <= (start := data.find(b"\xff", place)) < len(data) - 9:
        code = data[start + 1]
        if code in (0x00, 0xFF):  # no marker, and a byte that fills up
            is_clean, place = is_clean and code == 0xFF, start + 1
            continue
        is_clean = is_clean and start == place
        if code == 0xDA:
            return None if found is None else Frame(*found, start, is_clean)
        if code in _FRAMES:
            bits, height, width, components = struct.unpack(">BHHB", data[start + 4 : start + 10])
            if bits != 8 or len(data) < start + 12:
                return None
            found = height, width, components, divmod(data[start + 11], 16)
        place = start + 2 + (0 if code in _WITHOUT_LENGTH else int.from_bytes(data[start + 2 : start + 4], "big"))
    return None


def _is_surplus(text: str, data: bytes, scan: int) -> bool:
    """Tell whether data belong to no block: more than cameras leave at the end, and not a filling of equal bytes."""
    match = SURPLUS.search(text)
    if not match or (match[2] == END and int(match[1]) < LEAST_SURPLUS):
        return False
    filling = rb"(.)\1{%d}\xff%s" % (int(match[1]) - 1, re.escape(bytes.fromhex(match[2])))
    return re.compile(filling, re.DOTALL).search(data, scan) is None


def _as_tiff(frame: Frame, data: bytes) -> bytes:
    """Return a TIFF whose only strip is the JPEG."""
    count, photometric = frame.components, _PHOTOMETRIC[frame.components]
    fields = 10 + (photometric == 6)
    behind = 8 + 2 + 12 * fields + 4  # where the bits per component lie, and after them the strip
    directory = [
        _field(256, _LONG, frame.width),
        _field(257, _LONG, frame.height),
        _field(258, _SHORT, 8) if count == 1 else _field(258, _SHORT, behind, count),
        _field(259, _SHORT, 7),  # JPEG
        _field(262, _SHORT, photometric),
        _field(273, _LONG, behind + 8),
        _field(277, _SHORT, count),
        _field(278, _LONG, frame.height),
        _field(279, _LONG, len(data)),
        _field(284, _SHORT, 1),
    ]
    if photometric == 6:
        directory.append(struct.pack("<HHIHH", 530, _SHORT, 2, *frame.sampling))
    head = struct.pack("<2sHIH", b"II", 42, 8, fields) + b"".join(directory) + bytes(4)
    return head + struct.pack("<4H", 8, 8, 8, 8) + data


def _field(tag: int, kind: int, value: int, count: int = 1) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


def _warnings(tiff: bytes) -> Iterator[str]:
    """Decode the strip; return libjpeg's warnings."""
    functions, stream = _functions(), io.BytesIO(tiff)

    def read(_: int | None, target: int, size: int) -> int:
        return stream.readinto((ctypes.c_char * size).from_address(target)) if size > 0 else 0

    callbacks = (
        _READ(read),
        _READ(lambda *_: 0),  # nothing is written
        _SEEK(lambda _, offset, whence: stream.seek(offset if whence == 0 else 0, whence)),
        _NUMBER(lambda _: 0),
        _NUMBER(lambda _: len(tiff)),
    )
    with caught_messages() as messages:
        file = functions.TIFFClientOpen(b"image", b"rm", None, *callbacks, None, None)
        if not file:
            return iter(())
        try:
            if 0 < (size := functions.TIFFStripSize(file)) < 1 << 31:
                functions.TIFFReadEncodedStrip(file, 0, ctypes.create_string_buffer(size), size)
        finally:
            functions.TIFFClose(file)
    return (message.text for message in messages if message.source == "JPEGLib" and not message.is_error)


@functools.cache
def _functions() -> Any:
    """Return libtiff with the types of the functions that are used here, or None."""
    if (found := library()) is None:
        return None
    try:
        found.TIFFClientOpen.argtypes = [
            *(c_char_p, c_char_p, c_void_p),
            *(_READ, _READ, _SEEK, _NUMBER, _NUMBER, c_void_p, c_void_p),
        ]
        found.TIFFClientOpen.restype = c_void_p
        found.TIFFStripSize.argtypes, found.TIFFStripSize.restype = [c_void_p], c_ssize_t
        found.TIFFReadEncodedStrip.argtypes = [c_void_p, c_uint32, c_void_p, c_ssize_t]
        found.TIFFReadEncodedStrip.restype = c_ssize_t
        found.TIFFClose.argtypes, found.TIFFClose.restype = [c_void_p], None
    except AttributeError:
        return None
    return found
