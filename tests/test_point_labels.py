"""Names in a plot are beside their points, whatever the points are."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from bigain_cli.outputs.point_labels import label_points

PLACES = st.tuples(st.floats(0, 1), st.floats(0, 1))


def labelled(points: list[tuple[float, float]], length: int) -> tuple[Any, list[Any]]:
    axes = Figure(figsize=(8, 5)).subplots()
    axes.set(xlim=(-0.1, 1.1), ylim=(-0.1, 1.1))
    bars = [(x, y - 0.05, y + 0.05) for x, y in points]
    label_points(axes, points, bars, ["m" * length] * len(points), ["black"] * len(points))
    return axes, [text.get_window_extent() for text in axes.texts if text.get_text()]


@settings(max_examples=8, deadline=None)
@given(st.lists(PLACES, min_size=1, max_size=8), st.integers(1, 20))
def test_names_cover_neither_each_other_nor_points_and_stay_inside(points: list, length: int) -> None:
    axes, boxes = labelled(points, length)
    frame = axes.get_window_extent().padded(2)
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other.padded(-1)) for other in boxes[:number])
        assert not any(box.padded(-1).contains(*place) for place in axes.transData.transform(points))
        assert frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)


def test_names_are_at_the_same_places_every_time_and_those_of_crowded_points_have_lines() -> None:
    crowd = [(0.5 + number / 100, 0.5) for number in range(6)]
    first, again = (labelled(crowd, 12) for _ in range(2))
    assert [box.extents.tolist() for box in first[1]] == [box.extents.tolist() for box in again[1]]
    lines = [text for text in first[0].texts if text.arrow_patch is not None]
    assert 3 <= len(lines) <= 5 and not any(text.get_text() for text in lines)
    assert [text for text in labelled([(0.2, 0.2), (0.8, 0.8)], 12)[0].texts if text.arrow_patch is not None] == []
