"""Are a PNG's data whole? Its decoder stops without a word where the compressed data end at the end of a row.

The data are decompressed once more and counted. Must not know pixels.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

PIECE = 1 << 20  # bytes
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True)
class PngData:
    """The bytes of decompressed data that a PNG should have, those that it has, and whether its checksums fit."""

    expected: int
    found: int
    checksums_fit: bool


def count_png_data(stream: BinaryIO) -> PngData | None:
    """Count the data of a PNG; None without a proper header."""
    stream.seek(8)
    if stream.read(8) != b"\0\0\0\x0dIHDR" or len(header := stream.read(13)) < 13:
        return None
    stream.seek(4, 1)
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    expected = _data_size(width, height, bits * _CHANNELS.get(colour, 0), bool(interlaced))
    decompress, found, checksums_fit = zlib.decompressobj(), 0, True
    try:
        for piece, fits in _image_data(stream):
            checksums_fit = checksums_fit and fits
            while piece and not decompress.eof:
                found += len(decompress.decompress(piece, PIECE))
                if found > expected:  # more than the image needs; the rest may be without end
                    return PngData(expected, found, checksums_fit)
                piece = decompress.unconsumed_tail
        found += len(decompress.flush())
    except zlib.error:
        checksums_fit = False
    return PngData(expected, found, checksums_fit)


def _image_data(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Yield the data of the image's chunks, piece by piece, and at each chunk's end whether its checksum fits."""
    begun = False
    while len(head := stream.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name == b"IDAT":
            begun, checksum = True, zlib.crc32(name)
            for start in range(0, length, PIECE):
                piece = stream.read(min(PIECE, length - start))
                checksum = zlib.crc32(piece, checksum)
                yield piece, True
            yield b"", stream.read(4) == struct.pack(">I", checksum)
        elif begun:  # the chunks follow one another
            return
        else:
            stream.seek(length + 4, 1)


def _data_size(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Return the size of all rows, each with a byte for its filter."""
    if not interlaced:
        return height * (1 + -(-width * bits // 8))
    size = 0
    for left, top, right, down in _PASSES:
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        size += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return size
