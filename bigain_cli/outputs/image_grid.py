"""Images of one size as one image: sections with a heading, gutters, a caption below each image.

In: what is written, and how large the images are; out: the size of the whole, then the whole. Must not know prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bigain_cli.outputs.caption_font import caption_font, fitted_lines

if TYPE_CHECKING:
    from PIL.Image import Image

PAPER, INK, SOFT = "#ffffff", "#1c1e21", "#5c6168"
LINES = 2  # of a heading or a caption at most


@dataclass(frozen=True)
class Section:
    """A heading, and a caption for each image below it."""

    heading: str
    captions: tuple[str, ...]


@dataclass(frozen=True)
class _Text:
    """Lines of text to paint at a place."""

    place: tuple[int, int]
    width: int
    lines: tuple[str, ...]
    colour: str
    font: Any

    @property
    def line(self) -> int:
        """Return the height of a line."""
        return sum(self.font.getmetrics())

    @property
    def height(self) -> int:
        """Return the height of all lines."""
        return len(self.lines) * self.line


class ImageGrid:
    """The upper left corners of all images, texts, and the size of the whole."""

    def __init__(self, sections: Sequence[Section], columns: int, cell: tuple[int, int]) -> None:
        words = [text for section in sections for text in (section.heading, *section.captions)]
        height = min(max(cell[0] // 18, 13), 24)  # of letters, in pixels
        self._large, self._small = (caption_font(words, size) for size in (round(1.2 * height), height))
        self._cell, self._columns, self._gutter = cell, columns, min(max(cell[0] // 16, 8), 24)
        self.places: list[tuple[int, int]] = []
        self._texts: list[_Text] = []
        bottom = 0
        for section in sections:
            bottom = self._add(section, bottom + self._gutter)
        width = columns * cell[0] + (columns + 1) * self._gutter
        self.size = (width, bottom + self._gutter)

    def paint(self, images: Sequence[Image]) -> Image:
        """Return the grid of these images, section by section."""
        from PIL import Image

        grid = Image.new("RGB", self.size, PAPER)
        for image, place in zip(images, self.places, strict=True):
            grid.paste(image, place)
        for text in self._texts:
            grid.paste(self._painted(text), text.place)
        return grid

    def _painted(self, text: _Text) -> Image:
        """Return a text as an image of its own, so that no letter reaches beyond it."""
        from PIL import Image
        from PIL.ImageDraw import Draw

        image = Image.new("RGB", (text.width, text.height), PAPER)
        for number, line in enumerate(text.lines):
            Draw(image).text((0, number * text.line), line, fill=text.colour, font=text.font)
        return image

    def _add(self, section: Section, top: int) -> int:
        """Lay out a section, and return where it ends."""
        width = self._columns * self._cell[0] + (self._columns - 1) * self._gutter
        if section.heading:
            lines = fitted_lines(section.heading, self._large, width, LINES)
            self._texts.append(_Text((self._gutter, top), width, lines, INK, self._large))
            top += self._texts[-1].height + self._gutter // 2
        for captions in self._rows(section.captions):
            top = self._add_row(captions, top) + self._gutter // 2
        return top

    def _rows(self, captions: Sequence[str]) -> Iterator[Sequence[str]]:
        for start in range(0, len(captions), self._columns):
            yield captions[start : start + self._columns]

    def _add_row(self, captions: Sequence[str], top: int) -> int:
        """Lay out a row of images and their captions, and return where it ends."""
        width, height = self._cell
        below = top + height + self._gutter // 4
        texts = []
        for column, caption in enumerate(captions):
            left = self._gutter + column * (width + self._gutter)
            self.places.append((left, top))
            lines = fitted_lines(caption, self._small, width, LINES)
            texts.append(_Text((left, below), width, lines, SOFT, self._small))
        self._texts += texts
        return below + max(text.height for text in texts)


def about_square(count: int) -> int:
    """Return the columns of a grid that is about square."""
    return max(columns for columns in range(1, count + 1) if (columns - 1) ** 2 < count)
