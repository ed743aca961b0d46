"""What a decoder had to make up is refused or marked; whole images, odd ones too, are never suspected."""

from __future__ import annotations

import io
import itertools
import random
import struct
import zlib
from pathlib import Path

import bigain
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_images import busy, encoded, make_odd_folder
from PIL import Image

from bigain_cli.errors import InputError
from bigain_cli.images import Source, find, memory_limits, opening, read_or_error
from bigain_cli.images.decoding import read_and_check
from bigain_cli.images.jpeg_check import read_frame
from bigain_cli.images.libtiff import library

PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # of Adam7
JPEGS = list(itertools.product((60, 90), (0, 2), (False, True), (0, 7)))  # quality, subsampling, progressive, restarts
needs_libtiff = pytest.mark.skipif(library() is None, reason="this Pillow's libtiff cannot be found")


def damage(data: bytes) -> str:
    return read_and_check(Source("x", data=data)).damage


def failure(data: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        read_and_check(Source("x", data=data))
    return caught.value


def png(size: tuple[int, int], colour: int, data: bytes, interlaced: bool = False, bits: int = 8) -> bytes:
    """Return a PNG of any data, with right checksums."""
    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, interlaced)
    palette = [(b"PLTE", bytes(3 * 2**bits))] if colour == 3 else []
    chunks = [(b"IHDR", header), *palette, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def png_rows(width: int, height: int, bits: int, interlaced: bool) -> list[int]:
    """Return the size of each row of a PNG's data, pixel by pixel."""
    passes = PASSES if interlaced else ((0, 0, 1, 1),)
    rows = []
    for left, top, right, down in passes:
        pixels = len(range(left, width, right))
        rows += [1 + (pixels * bits + 7) // 8 for _ in range(top, height, down) if pixels]
    return rows


@given(
    st.tuples(st.integers(1, 19), st.integers(2, 19)),
    st.sampled_from([(0, 1, 1), (0, 8, 1), (0, 16, 1), (2, 8, 3), (3, 2, 1), (3, 8, 1), (4, 8, 2), (6, 16, 4)]),
    st.booleans(),
    st.floats(0, 1, exclude_max=True),
)
def test_a_png_whose_data_end_after_any_row_is_truncated(
    size: tuple[int, int], kind: tuple[int, int, int], interlaced: bool, share: float
) -> None:
    colour, bits, channels = kind
    rows = png_rows(*size, bits * channels, interlaced)
    assert damage(png(size, colour, bytes(sum(rows)), interlaced, bits)) == ""
    some = png(size, colour, bytes(sum(rows[: int(share * len(rows))])), interlaced, bits)
    assert failure(some).kind == "truncated-image"


def test_a_png_with_data_to_spare_or_a_wrong_checksum_is_read_and_the_second_marked() -> None:
    rows = bytes(4 * 13)
    assert damage(png((4, 4), 2, rows + bytes(99))) == ""
    bomb = png((4, 4), 2, rows + bytes(1 << 24))
    assert damage(bomb) == ""
    whole = bytearray(encoded(busy(64), "PNG"))
    place = whole.index(b"IDAT")
    end = place + 4 + int.from_bytes(whole[place - 4 : place], "big")
    whole[end] ^= 1  # the checksum of the chunk
    assert damage(bytes(whole)) == "a checksum does not fit"


def jpegs(image: Image.Image) -> list[bytes]:
    return [
        encoded(image, "JPEG", quality=q, subsampling=s, progressive=p, restart_marker_blocks=r) for q, s, p, r in JPEGS
    ]


def cut(data: bytes, share: float, generator: random.Random) -> bytes:
    """Return a file without a share of its bytes, from the middle of its compressed data."""
    frame = read_frame(data)
    assert frame is not None
    count = int(share * (len(data) - frame.scan))
    start = generator.randrange(frame.scan + 20, len(data) - count - 2)
    return data[:start] + data[start + count :]


@needs_libtiff
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_jpegs_without_bytes_from_their_middle_are_refused_or_marked(share: float) -> None:
    generator = random.Random(0)
    noticed = {False: 0, True: 0}
    for (_, _, progressive, _), data in zip(JPEGS * 3, jpegs(busy(150)) * 3, strict=True):
        found = read_or_error(Source("x", data=cut(data, share, generator)))
        noticed[progressive] += isinstance(found, tuple) or bool(found.damage)
    assert noticed[False] == 24
    assert noticed[True] >= 21  # a cut that ends where a scan does leaves nothing to notice


@needs_libtiff
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(["RGB", "L", "CMYK"]), st.integers(0, len(JPEGS) - 1))
def test_no_whole_jpeg_is_suspected(width: int, height: int, mode: str, kind: int) -> None:
    quality, subsampling, progressive, restarts = JPEGS[kind]
    image = busy(70).crop((0, 0, width, height)).convert(mode)
    options = {"quality": quality, "progressive": progressive, "restart_marker_blocks": restarts}
    data = encoded(image, "JPEG", **options, **({"subsampling": subsampling} if mode == "RGB" else {}))
    assert damage(data) == ""
    assert damage(data + bytes(99)) == damage(data + data) == "", "what follows the image is not the image's"
    assert damage(data[:-2] + b"\xff" * 40 + data[-2:]) == "", "a marker may be filled up"
    assert damage(data[:-2] + bytes(40) + data[-2:]) == "", "some cameras fill up a block"
    assert damage(data[:2] + b"\xff\xfe\0\x04hi" + data[2:]) == "", "a comment"
    second = 4 + int.from_bytes(data[4:6])
    assert damage(data[:second] + b"junk" * 20 + data[second:]) == "", "bytes between the segments of the header"


def test_an_odd_folder_has_no_damaged_image_and_a_check_changes_no_pixel(tmp_path: Path) -> None:
    make_odd_folder(tmp_path / "odd")
    found = [read_or_error(source) for source in find([str(tmp_path / "odd")])]
    assert {item.damage for item in found if not isinstance(item, tuple)} == {""}
    for data in jpegs(busy(50)):
        assert read_and_check(Source("x", data=data)).image.tobytes() == Image.open(io.BytesIO(data)).tobytes()


@needs_libtiff
def test_a_fax_with_a_bad_code_word_is_marked() -> None:
    data = bytearray(encoded(busy(400).convert("1"), "TIFF", compression="group4"))
    data[len(data) // 2] ^= 0x55
    found = read_or_error(Source("x", data=bytes(data)))
    assert isinstance(found, tuple) or "Bad code word" in found.damage or "Premature EOL" in found.damage


@needs_libtiff
def test_the_record_of_a_damaged_image_says_so_and_no_other() -> None:
    whole = encoded(busy(150), "JPEG")
    damaged = cut(whole, 0.2, random.Random(1))
    first, second = bigain.classify("colours", [damaged, whole], ["red", "green"])
    assert first.damage and first.to_dict()["damaged"] is True
    assert not second.damage and "damaged" not in second.to_dict()


def test_memory_is_limited_by_what_a_format_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limits, "MOST_BYTES", 15 * 100 * 100)
    small = busy(100)
    for kind in ("JPEG", "PNG", "TIFF", "BMP", "AVIF"):
        assert read_and_check(Source("x", data=encoded(small, kind))).image.size == (100, 100)
    for kind in ("WEBP", "JPEG2000"):
        error = failure(encoded(small, kind))
        assert (error.kind, error.why) == (
            "decompression-bomb",
            f"a {kind} of 100 × 100 pixels, which takes 0.0 GB to decode",
        )
    monkeypatch.setattr(memory_limits, "MOST_BYTES", 12 * 100 * 100)
    assert failure(encoded(small.convert("RGBA"), "PNG")).kind == "decompression-bomb"
    monkeypatch.setattr(memory_limits, "MOST_BYTES", 9)
    assert failure(encoded(small, "WEBP")).kind == "too-large"


class Pipe(io.RawIOBase):
    """A pipe that never ends, and knows how much was read of it."""

    def __init__(self, head: bytes) -> None:
        self.head, self.taken = head, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        size = min(len(buffer), 1000)
        buffer[:size] = self.head[self.taken : self.taken + size].ljust(size, b"\0")
        self.taken += size
        return size


def test_stdin_is_read_no_further_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "LONGEST_PIPE", 10_000)
    text, endless = Pipe(b"no image"), Pipe(encoded(busy(30), "PNG"))
    for pipe, kind, most in ((text, "not-an-image", 1000), (endless, "too-large", 12_000)):
        [source] = find(["-"], stdin=pipe)
        assert pipe.taken == 0
        found = read_or_error(source)
        assert isinstance(found, tuple) and found[1].kind == kind
        assert pipe.taken <= most
