"""Images with wild bytes: read, marked, or refused as an input error that names the file."""

from __future__ import annotations

import functools
from random import Random

import pytest
from fuzz_cases import check, generator, wild_bytes
from odd_images import busy, encoded, oriented, palette_with_alpha, png_header
from PIL import Image

from bigain_cli.images import Source, read_or_error

FAST, ALL = 500, 20_000
KINDS = {"not-an-image", "truncated-image", "unreadable-image", "empty-file", "decompression-bomb", "too-large"}


@functools.cache
def samples() -> tuple[bytes, ...]:
    """Return a small file of each format and layout."""
    image = busy(24)
    sixteen = Image.new("I;16", (9, 9), 40_000)
    return (
        *(encoded(image, kind) for kind in ("PNG", "GIF", "WEBP", "BMP", "PPM", "JPEG2000", "AVIF", "ICO", "QOI")),
        *(
            encoded(image, "JPEG", progressive=p, subsampling=s, restart_marker_blocks=2)
            for p in (0, 1)
            for s in (0, 2)
        ),
        *(encoded(image.convert(mode), "JPEG") for mode in ("L", "CMYK")),
        *(encoded(image, "TIFF", compression=c) for c in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")),
        encoded(image.convert("1"), "TIFF", compression="group4"),
        encoded(sixteen, "TIFF"),
        encoded(sixteen, "PNG"),
        encoded(image.convert("RGBA"), "WEBP", lossless=True),
        encoded(palette_with_alpha(), "PNG", transparency=bytes([255, 0])),
        oriented(6),
        png_header(50_000, 50_000),
    )


def wild_image(dice: Random) -> bytes:
    """Return the bytes of a changed file; at times the head of one and the rest of another."""
    data = wild_bytes(dice, dice.choice(samples()))
    if dice.random() < 0.1:
        other = dice.choice(samples())
        data = data[: dice.randrange(len(data) + 1)] + other[dice.randrange(len(other)) :]
    return data


def run_case(number: int) -> str:
    """Read a wild image."""
    data = wild_image(generator("images", number))

    def read() -> None:
        found = read_or_error(Source("x", data=data))
        if isinstance(found, tuple):
            assert found[1].kind in KINDS and "object at 0x" not in str(found[1]), repr(found[1])
            raise found[1]
        assert found.image.mode == "RGB" and "\n" not in found.damage

    return check(read)


def test_some_wild_images() -> None:
    assert {run_case(number) for number in range(FAST)} == {"refused", "accepted"}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_wild_images(part: int) -> None:
    for number in range(FAST + part, ALL, 20):
        run_case(number)
