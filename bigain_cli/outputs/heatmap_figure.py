"""One image's evidence as a figure: maps of the leader against the runner-up and the empty prompt, on it and alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigain_cli.classification.ranking import EvidenceMap, ImageEvidence, Ranking
from bigain_cli.outputs.file_names import file_name
from bigain_cli.outputs.plotting import (
    DIVERGING,
    aspect_of,
    colour_limit,
    rendered,
    show_image,
    title_text,
    transparent_colours,
)
from bigain_cli.outputs.text import counted
from bigain_cli.outputs.whole_files import save_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL.Image import Image

LABELS = 5  # whose probabilities are shown at most
LABEL_HEIGHT = 0.5  # inches of a label with its bar
BAR, OTHER_BAR = "#1d5fae", "#b9c4d0"


def save_heatmap(folder: Path, ranking: Ranking) -> Path | None:
    """Save a ranking's figure, if it has any map."""
    if ranking.evidence is None or not ranking.evidence.maps:
        return None
    return save_file(folder, file_name(ranking.id, ".png"), rendered(heatmap_figure(ranking, ranking.evidence)))


def heatmap_figure(ranking: Ranking, evidence: ImageEvidence) -> Figure:
    """Plot the image and, below it, the probabilities; beside them each map on the image and, below it, alone."""
    from matplotlib.figure import Figure

    columns, height = 1 + len(evidence.maps), 3.0 * aspect_of(evidence.image)
    figure = Figure(figsize=(0.4 + 3.4 * columns, 1.4 + 2 * height), layout="constrained")
    above, below = figure.subplots(2, columns)
    show_image(above[0], evidence.image)
    above[0].set_title(title_text(ranking.id.rpartition("/")[2] or ranking.id), fontsize=10, parse_math=False)
    _plot_probabilities(below[0], ranking, min(LABELS, int(height / LABEL_HEIGHT)))
    limit = colour_limit(*(each.map for each in evidence.maps))
    for on_image, alone, each in zip(above[1:], below[1:], evidence.maps, strict=True):
        against = title_text("the empty prompt" if each.against is None else each.against, 24)
        on_image.set_title(f"{title_text(ranking.label, 24)} against {against}", fontsize=10, parse_math=False)
        _plot_on_image(on_image, each.map, limit, evidence.image)
        _plot_alone(figure, alone, each, limit, evidence.image)
    for axes in (*above, *below[1:]):
        axes.set(xticks=[], yticks=[])
    figure.suptitle(_headline(ranking), fontsize=12, parse_math=False)
    return figure


def _plot_on_image(axes: Any, values: NDArray, limit: float, image: Image) -> None:
    """Plot a map over the image, which is grey and pale there."""
    import numpy as np
    from PIL import Image
    from PIL.Image import Resampling

    grey = np.asarray(image.convert("L"), dtype=float) / 255
    axes.imshow(0.45 + 0.55 * grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if image.width > 2 * values.shape[1]:  # a coarse map on a fine image is smooth
        values = np.asarray(Image.fromarray(values.astype(np.float32)).resize(image.size, Resampling.BILINEAR))
    extent = (-0.5, image.width - 0.5, image.height - 0.5, -0.5)
    axes.imshow(transparent_colours(values, limit), extent=extent, interpolation="nearest")


def _plot_alone(figure: Figure, axes: Any, evidence: EvidenceMap, limit: float, image: Image) -> None:
    """Plot a map and its scale, with what the values add up to."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    options = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    colours = axes.imshow(evidence.map, extent=(0, image.width, image.height, 0), **options)
    bar = figure.colorbar(colours, ax=axes, orientation="horizontal", shrink=0.9, pad=0.03, extend="both", aspect=30)
    bar.ax.tick_params(labelsize=8)
    bar.locator, bar.formatter = MaxNLocator(4, symmetric=True), FuncFormatter(lambda value, _: f"{value:.2g}")
    bar.update_ticks()
    is_notable = abs(evidence.remainder) > 0.01 * abs(evidence.gap)
    spread = f",\n{evidence.remainder:.1g} of it spread evenly" if is_notable else ""
    rows, columns = evidence.map.shape
    text = f"each position's share of the gap; {rows}×{columns} of them\nadd up to {evidence.gap:.3g}{spread}"
    bar.set_label(text, fontsize=8)


def _plot_probabilities(axes: Any, ranking: Ranking, most: int) -> None:
    """Plot the first labels' probabilities as bars, each with its label above it."""
    shown = ranking.ranked[:most]
    values = [each.probability for each in shown]
    axes.barh(range(len(shown)), values, height=0.34, color=[BAR, *[OTHER_BAR] * (len(shown) - 1)])
    for row, each in enumerate(shown):
        axes.text(0, row - 0.24, title_text(each.label, 30), fontsize=9, va="bottom", parse_math=False)
        axes.text(1, row - 0.24, f"{each.probability:.2f}", fontsize=9, va="bottom", ha="right")
    axes.set(xlim=(0, 1), ylim=(most - 0.5, -0.8), xticks=[], yticks=[])
    axes.set_title("probability", fontsize=9, loc="left")
    axes.spines[:].set_visible(False)


def _headline(ranking: Ranking) -> str:
    state = "" if ranking.settled else " (open)"
    answer = "" if ranking.answer == ranking.label else f"{ranking.answer}: "
    label, draws = title_text(ranking.label), counted(ranking.draws, "draw")
    return f"{answer}{label}{state}, probability {ranking.probability:.2f}, {draws}"
