"""Grids keep every pixel of their images, and captions fit; what would be too large is refused before it is made."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

import bigain_cli as bigain
from bigain_cli.errors import UsageError
from bigain_cli.generation.generated_image import GeneratedImage, arrange, plan_grid
from bigain_cli.generation.zoom import LEGIBLE, Zoom, as_zoom, grid_zoom
from bigain_cli.outputs import caption_font as captions
from bigain_cli.outputs.caption_font import caption_font, fitted_lines
from bigain_cli.outputs.image_grid import ImageGrid, Section

FONT = ImageFont.load_default(13)
TEXTS = st.text("ajZ 9éЖ猫א\u0301\n", max_size=60)


def noise(number: int, size: tuple[int, int] = (9, 7)) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=5)), min_size=1, max_size=3), st.integers(1, 4))
def test_images_lie_apart_and_as_they_are_and_nothing_is_painted_over_them(sections, columns: int) -> None:
    grid = ImageGrid([Section(heading, tuple(below)) for heading, below in sections], columns, (40, 30))
    images = [noise(number, (40, 30)) for number in range(sum(len(below) for _, below in sections))]
    whole = np.asarray(grid.paint(images))
    assert whole.shape[1::-1] == grid.size
    for (left, top), image in zip(grid.places, images, strict=True):
        assert np.array_equal(whole[top : top + 30, left : left + 40], np.asarray(image))
    assert all((b[0] >= a[0] + 48) if a[1] == b[1] else (b[1] >= a[1] + 38) for a, b in pairwise(grid.places))
    edges = (whole[:8], whole[-8:], whole[:, :8], whole[:, -8:])
    assert all((edge == 255).all() for edge in edges), "a margin on all sides: no caption is wider than its image"


@given(st.text(max_size=500), st.integers(30, 300), st.integers(1, 3))
def test_text_fits_its_width_and_is_cut_only_where_it_must_be(text: str, width: int, most: int) -> None:
    lines = fitted_lines(text, FONT, width, most)
    assert 1 <= len(lines) <= most and all(FONT.getlength(line) <= width for line in lines)
    words = " ".join(text.split())
    if FONT.getlength(words) <= width and words.isprintable() and len(text) < 400:
        assert lines == (words,)


def test_a_font_is_taken_that_has_the_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    own = caption_font(["a horse, seed 3"], 13).getname()
    assert own == FONT.getname(), "the same everywhere"
    assert caption_font(["é Ж ß"], 13).getname()[0] == "DejaVu Sans"
    monkeypatch.setattr(captions, "has_plotting", lambda: False)
    assert caption_font(["é Ж ß"], 13).getname() == own, "boxes, where there is no other font"


@pytest.mark.parametrize(
    ("size", "times"), [((32, 32), 4), ((8, 8), 16), ((100, 60), 2), ((128, 8), 1), ((512, 512), 1), ((1, 1), 64)]
)
def test_a_grid_enlarges_only_small_images(size: tuple[int, int], times: int) -> None:
    assert grid_zoom(size).times == times and (times in (1, 64) or max(size) * times >= LEGIBLE)


def test_a_zoom_is_a_factor_and_a_filter() -> None:
    image = noise(1)
    nearest, smooth = Zoom(3).enlarged(image), as_zoom("3:lanczos").enlarged(image)
    assert np.array_equal(np.asarray(nearest)[::3, ::3], np.asarray(image)) and nearest.size == smooth.size == (27, 21)
    assert nearest.tobytes() != smooth.tobytes() and as_zoom(1).enlarged(image) is image
    for each in ("4", "4:lanczos", "64", "1"):
        assert str(as_zoom(each)) == each
    assert as_zoom("4:nearest") == as_zoom(4) == as_zoom(Zoom(4))


@pytest.mark.parametrize(
    "wrong", [0, -1, 65, True, 2.0, "", "x", "4:", "4:box", ":lanczos", "٤", "4\n", " 4", "1e3", None]
)
def test_what_is_no_zoom_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match="not a whole number from 1 to 64"):
        as_zoom(wrong)


def test_what_is_too_large_is_refused_before_it_is_made() -> None:
    with pytest.raises(UsageError, match=r"--zoom 64: 65536x65536 pixels are more than the 89 million"):
        Zoom(64).size((1024, 1024))
    with pytest.raises(UsageError, match=r"a grid of 100000 images: .* Make fewer, or use a smaller --zoom"):
        plan_grid(["red"], 0, 100_000, (512, 512), None)


def sample(prompt: str, seed: int, **settings: object) -> GeneratedImage:
    return GeneratedImage(noise(seed), prompt, seed, {"model": "m", **settings})


def test_a_grid_is_of_one_whole_run() -> None:
    whole = [sample(prompt, seed) for prompt in ("a", "b") for seed in (3, 4)]
    assert (arrange(iter(whole)).seed, arrange(whole).count, arrange(whole).prompts) == (3, 2, ("a", "b"))
    for part in ([], whole[:3], whole[::-1], [whole[0], sample("a", 5)], [each.enlarged(2) for each in whole]):
        with pytest.raises(UsageError, match="not all images of one run in their order"):
            arrange(part)
    with pytest.raises(UsageError, match="enlarged already"):
        whole[0].enlarged(2).enlarged(2)
    assert bigain.arrange is arrange
