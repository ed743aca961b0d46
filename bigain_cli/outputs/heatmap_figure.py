"""One image's evidence as a figure: the image, and maps of the leader against the runner-up and the empty prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigain_cli.classification.ranking import EvidenceMap, ImageEvidence, Ranking
from bigain_cli.outputs.plotting import DIVERGING, aspect_of, colour_limit, rendered, show_image, title_text
from bigain_cli.outputs.text import counted
from bigain_cli.outputs.whole_files import file_name, save_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_heatmap(folder: Path, ranking: Ranking) -> Path | None:
    """Save a ranking's figure, if it has any map."""
    if ranking.evidence is None or not ranking.evidence.maps:
        return None
    return save_file(folder, file_name(ranking.id, ".png"), rendered(heatmap_figure(ranking, ranking.evidence)))


def heatmap_figure(ranking: Ranking, evidence: ImageEvidence) -> Figure:
    """Plot the image and its maps side by side, the maps on one scale."""
    from matplotlib.figure import Figure

    columns = 1 + len(evidence.maps)
    figure = Figure(figsize=(0.4 + 3.5 * columns, 1.2 + 3.0 * aspect_of(evidence.image)), layout="constrained")
    first, *others = figure.subplots(1, columns)
    show_image(first, evidence.image)
    first.set_title(title_text(ranking.id.rpartition("/")[2] or ranking.id), fontsize=10, parse_math=False)
    limit = colour_limit(*(each.map for each in evidence.maps))
    for axes, each in zip(others, evidence.maps, strict=True):
        colours = axes.imshow(
            each.map,
            cmap=DIVERGING,
            vmin=-limit,
            vmax=limit,
            extent=(0, evidence.image.width, evidence.image.height, 0),
            interpolation="nearest",
        )
        against = title_text("the empty prompt" if each.against is None else each.against, 24)
        axes.set_title(f"{title_text(ranking.label, 24)} against {against}", fontsize=10, parse_math=False)
        _add_scale(figure, axes, colours, each)
    for axes in (first, *others):
        axes.set(xticks=[], yticks=[])
    figure.suptitle(_headline(ranking), fontsize=11, parse_math=False)
    return figure


def _add_scale(figure: Figure, axes: Any, colours: Any, evidence: EvidenceMap) -> None:
    """Add a map's scale below it, with what the values add up to."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    bar = figure.colorbar(colours, ax=axes, orientation="horizontal", shrink=0.9, pad=0.03, extend="both", aspect=30)
    bar.ax.tick_params(labelsize=8)
    bar.locator, bar.formatter = MaxNLocator(4, symmetric=True), FuncFormatter(lambda value, _: f"{value:.2g}")
    bar.update_ticks()
    is_notable = abs(evidence.remainder) > 0.01 * abs(evidence.gap)
    spread = f",\n{evidence.remainder:.1g} of it spread evenly" if is_notable else ""
    rows, columns = evidence.map.shape
    text = f"each position's share of the gap; {rows}×{columns} of them\nadd up to {evidence.gap:.3g}{spread}"
    bar.set_label(text, fontsize=8)


def _headline(ranking: Ranking) -> str:
    state = "" if ranking.settled else " (open)"
    label, draws = title_text(ranking.label), counted(ranking.draws, "draw")
    return f"{label}{state}, probability {ranking.probability:.2f}, {draws}"
