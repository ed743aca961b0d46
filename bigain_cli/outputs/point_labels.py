"""Names beside the points of a plot, so that none covers another, a point or an error bar; the same every time.

In: a plot whose limits are set; out: text in it. Must not know what the points are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAR = 9.0  # points of a text's distance that need no line to its point
RINGS = 12  # distances that are tried
TURNS = 16  # directions that are tried at each, right and left first
ORDER = (0, 8, 2, 14, 6, 10, 1, 15, 7, 9, 4, 12, 3, 13, 5, 11)
_LOOK: dict[str, Any] = {
    "fontsize": 9,
    "va": "bottom",
    "parse_math": False,
    "zorder": 4,
    "bbox": {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5},
}
Box = tuple[float, float, float, float]  # left, bottom, right, top, in pixels


def label_points(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    bars: Sequence[tuple[float, float, float]],  # x, and the ends of the vertical error bar
    names: Sequence[str],
    colours: Sequence[Any],
) -> None:
    """Write each name at the nearest free place, with a line to its point if that is not beside it."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # places the axes
    scale = figure.dpi / 72
    at = [(float(x), float(y)) for x, y in axes.transData.transform(points)]
    taken = [_around(x, y, 5 * scale) for x, y in at]
    for x, low, high in bars:
        (middle, bottom), (_, top) = axes.transData.transform([(x, low), (x, high)])
        taken.append((middle - 4 * scale, bottom, middle + 4 * scale, top))
    for point, (x, y), name, colour in zip(points, at, names, colours, strict=True):
        text = axes.annotate(name, point, (0, 0), textcoords="offset points", **_LOOK, color=colour)
        text.set_in_layout(False)
        extent, frame = text.get_window_extent(), axes.get_window_extent()
        boxes = _places(x, y, (extent.width, extent.height), scale)
        place = min(boxes, key=partial(_cost, taken=taken, frame=frame.extents))
        taken.append(place)
        offset = ((place[0] - x) / scale, (place[1] - y) / scale)
        text.set_position(offset)
        if _distance(place, x, y) > 1.5 * NEAR * scale:
            middle = (offset[0] + extent.width / scale / 2, offset[1] + extent.height / scale / 2)
            line = {"arrowstyle": "-", "color": colour, "lw": 0.6, "alpha": 0.7, "shrinkA": 0, "shrinkB": 4}
            axes.annotate("", point, middle, textcoords="offset points", arrowprops=line, zorder=1).set_in_layout(False)


def _places(x: float, y: float, size: tuple[float, float], scale: float) -> Iterator[Box]:
    """Yield boxes for a text around a point, the nearest first."""
    width, height = size
    for ring in range(RINGS):
        distance = NEAR * scale * (1 + 1.5 * ring)
        for turn in ORDER:
            angle = 2 * math.pi * turn / TURNS
            across, up = math.cos(angle), math.sin(angle)
            left = x + distance * across + width * (across - 1) / 2
            bottom = y + distance * up + height * (up - 1) / 2
            yield left, bottom, left + width, bottom + height


def _cost(box: Box, taken: Sequence[Box], frame: Box) -> float:
    """Return how much of a box is covered or outside the frame, in square pixels."""
    inside = _overlap(box, frame)
    return (box[2] - box[0]) * (box[3] - box[1]) - inside + sum(_overlap(box, each) for each in taken)


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _around(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius


def _distance(box: Box, x: float, y: float) -> float:
    """Return how far a point is from a box."""
    return math.hypot(max(box[0] - x, 0, x - box[2]), max(box[1] - y, 0, y - box[3]))
