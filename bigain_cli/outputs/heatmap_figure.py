"""One image's evidence as a figure: the image, the winner against the runner-up, and against the empty prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigain_cli.classification.ranking import EvidenceMap, ImageEvidence, Ranking
from bigain_cli.outputs.files import name_of, save
from bigain_cli.outputs.plotting import DIVERGING, png_of, reach, title_text
from bigain_cli.outputs.text import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EMPTY = "the empty prompt"


def save_panel(folder: Path, ranking: Ranking) -> Path | None:
    """Save a ranking's figure, if it has any map."""
    if ranking.evidence is None or not ranking.evidence.maps:
        return None
    return save(folder, name_of(ranking.id, ".png"), png_of(panel(ranking, ranking.evidence)))


def panel(ranking: Ranking, image_evidence: ImageEvidence) -> Figure:
    """Plot the image and its maps side by side, the maps on one scale."""
    from matplotlib.figure import Figure

    tall = min(max(image_evidence.image.height / image_evidence.image.width, 0.4), 2.5)
    columns = 1 + len(image_evidence.maps)
    figure = Figure(figsize=(0.4 + 3.5 * columns, 1.2 + 3.0 * tall), layout="constrained")
    axes = figure.subplots(1, columns)
    axes[0].imshow(image_evidence.image, interpolation="nearest" if image_evidence.image.width < 128 else "antialiased")
    axes[0].set_title(title_text(ranking.id.rpartition("/")[2] or ranking.id), fontsize=10, parse_math=False)
    end = reach(*(evidence.map for evidence in image_evidence.maps))
    for place, evidence in zip(axes[1:], image_evidence.maps, strict=True):
        _plot_map(figure, place, evidence, image_evidence, ranking.label, end)
    for place in axes:
        place.set_xticks([])
        place.set_yticks([])
    figure.suptitle(_headline(ranking), fontsize=11, parse_math=False)
    return figure


def _plot_map(
    figure: Figure, axes: Any, evidence: EvidenceMap, image_evidence: ImageEvidence, winner: str, end: float
) -> None:
    """Plot one map over the extent of the image, with its scale."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    size = image_evidence.image.size
    plotted = axes.imshow(
        evidence.map,
        cmap=DIVERGING,
        vmin=-end,
        vmax=end,
        extent=(0, size[0], size[1], 0),
        interpolation="nearest",
    )
    against = EMPTY if evidence.against is None else evidence.against
    axes.set_title(f"{title_text(winner, 24)} against {title_text(against, 24)}", fontsize=10, parse_math=False)
    bar = figure.colorbar(plotted, ax=axes, orientation="horizontal", shrink=0.9, pad=0.03, extend="both", aspect=30)
    bar.ax.tick_params(labelsize=8)
    bar.locator, bar.formatter = MaxNLocator(4, symmetric=True), FuncFormatter(lambda value, _: f"{value:.2g}")
    bar.update_ticks()
    spread = f",\n{evidence.remainder:.1g} of it spread evenly" if notable(evidence) else ""
    rows, columns = evidence.map.shape
    scale = f"each place's share of the gap; {rows}×{columns} of them\nadd up to {evidence.gap:.3g}{spread}"
    bar.set_label(scale, fontsize=8)


def notable(evidence: EvidenceMap) -> bool:
    """Say whether more than a hundredth of the gap belongs to no place."""
    return abs(evidence.remainder) > 0.01 * abs(evidence.gap)


def _headline(ranking: Ranking) -> str:
    state = "" if ranking.decided else " (undecided)"
    label, draws = title_text(ranking.label), counted(ranking.draws, "draw")
    return f"{label}{state}, probability {ranking.probability:.2f}, {draws}"
