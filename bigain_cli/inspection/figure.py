"""An inspection as a table of its numbers, and as a figure for each timestep with a row for each block."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigain_cli.outputs.file_names import file_name
from bigain_cli.outputs.plotting import aspect_of, rendered, show_image, title_text
from bigain_cli.outputs.text import COLUMNS, aligned, shortened
from bigain_cli.outputs.whole_files import save_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL.Image import Image

    from bigain_cli.inspection.inspector import BlockView, Inspection

_COLUMNS = ("t", "operator", "grid", "tokens", "keys", "groups", "largest", "laplacian", "site")
_LAPLACIAN = _COLUMNS.index("laplacian")  # left out of a narrow table
_OPERATOR = 12  # cells of an operator in a narrow table
_MERGING_TITLES = ("Laplacian score, destinations", "merged groups", "tokens kept", "image after merging")
_POOLING_TITLES = ("Laplacian score, samples", "cells of keys", "queries", "image that keys are made from")
_CHEQUER = ((0.90, 0.82, 0.93), (0.72, 0.55, 0.80))  # for tokens that were merged away: no other has two colours
_FEW_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # of Okabe and Ito
WIDTH = 14.0  # inches
MOST_LINES = 40  # that can be followed by eye


def as_text(document: dict[str, Any], wide: bool = False) -> str:
    """Align the numbers in columns, with the share of operations saved and the figures' files below.

    Unless it is wide, a line takes at most 80 cells, and parts that all names of blocks have are left out.
    """
    about = document["compression"]
    saved = f"{about['compress']}: {about['saved']:.1%} of a pass saved"
    rows = [_COLUMNS, *(_cells(numbers) for numbers in document["looks"])]
    if not wide:
        rows = [_narrow(row) for row in rows]
    last = len(rows[0]) - 1
    table = aligned(rows[0], rows[1:], left=last + 1, width=None if wide else COLUMNS, names=last)
    return "\n".join([table, saved, *document.get("pictures", {}).values()])


def _cells(numbers: dict[str, Any]) -> tuple[str, ...]:
    scores = numbers["laplacian"]
    means = " / ".join("-" if scores[name] is None else f"{scores[name]:.3g}" for name in ("anchors", "stay", "leave"))
    more = f" (+{len(numbers['serves']) - 1})" if len(numbers["serves"]) > 1 else ""
    grid, tokens = "x".join(map(str, numbers["grid"])), f"{numbers['tokens']} -> {numbers['queries']}"
    counts = (str(numbers[name]) for name in ("keys", "groups", "largest"))
    return str(numbers["t"]), numbers["operator"], grid, tokens, *counts, means, numbers["site"] + more


def _narrow(row: Sequence[str]) -> tuple[str, ...]:
    """Return a row's most important cells."""
    t, operator, *counts, site = (cell for at, cell in enumerate(row) if at != _LAPLACIAN)
    return (
        t,
        shortened(operator, _OPERATOR),
        *counts,
        site.replace(".attentions", "").replace(".transformer_blocks", ""),
    )


def figure_name(id: str, t: int) -> str:
    """Return the file name of an image's figure at one timestep."""
    return file_name(id, f"-t{t}.png")


def save_figures(folder: Path, id: str, found: Inspection) -> dict[str, str]:
    """Save a figure for each timestep, and return the files."""
    saved = {}
    for t, views in groupby(found.views, key=lambda view: view.t):
        data = rendered(figure_of(found.image, list(views), id.rpartition("/")[2] or id))
        saved[str(t)] = str(save_file(folder, figure_name(id, t), data))
    return saved


def figure_of(image: Image, views: Sequence[BlockView], name: str) -> Figure:
    """Plot all blocks at one timestep, each under its name."""
    from matplotlib.figure import Figure

    heights = 0.5, (WIDTH / 5 - 0.1) * aspect_of(image) + 1.15
    figure = Figure(figsize=(WIDTH, heights[0] + heights[1] * len(views)), layout="constrained")
    figure.suptitle(f"{title_text(name)} at timestep {views[0].t}", fontsize=13, parse_math=False)
    for part, view in zip(figure.subfigures(len(views), 1, squeeze=False)[:, 0], views, strict=True):
        _plot_block(part, part.subplots(1, 5), view, image)
    return figure


def _plot_block(figure: Any, axes: Any, view: BlockView, image: Image) -> None:
    """Plot one block into a row of axes."""
    import numpy as np

    rows, columns = view.score.shape
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    grey = np.asarray(image.convert("L").resize((columns, rows)), dtype=float) / 255
    more = f" and {len(view.shared_by) - 1} more" if len(view.shared_by) > 1 else ""
    what = f"{title_text(view.term)} in {view.site}{more}"
    show_image(axes[0], image, extent=extent)
    axes[0].set_title(f"\n\nimage\n{rows}×{columns} tokens", fontsize=9)  # below the blank lines' place
    heading = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": 10, "weight": "bold"}
    axes[0].annotate(what, (0, 1), (0, 34), **heading, parse_math=False).set_in_layout(False)
    scores = axes[1].imshow(view.score, cmap="viridis", extent=extent)
    figure.colorbar(scores, ax=axes[1], orientation="horizontal", shrink=0.9, pad=0.02).ax.tick_params(labelsize=8)
    y, x = view.anchors.nonzero()
    axes[1].scatter(x, y, s=_dot_size(view), c="white", edgecolors="black", linewidths=0.4)
    shown = _shown_groups(view)
    hues = _group_colours(view.clusters.max() + 1, shown)
    axes[2].imshow(_tinted(view.clusters, hues, grey, shown), extent=extent, interpolation="nearest")
    _plot_lines(axes[2], view, hues, shown)
    axes[3].imshow(_kept_tokens(view, image), extent=extent, interpolation="nearest")
    axes[4].imshow(view.reconstructed, extent=extent, interpolation="nearest")
    titles = _MERGING_TITLES if view.merges else _POOLING_TITLES
    for each, title, counts in zip(axes[1:], titles, _counts(view, len(shown)), strict=True):
        each.set_title(f"{title}\n{counts}", fontsize=9)
    for each in axes:
        each.set(xticks=[], yticks=[], anchor="N")


def _counts(view: BlockView, shown: int) -> tuple[str, str, str, str]:
    numbers = view.to_dict()
    alpha = "" if view.alpha is None else f", α = {view.alpha:.3g}"
    groups = numbers["groups"]
    return (
        f"{numbers['anchors']} of {numbers['tokens']}",
        f"{groups}, the largest of {numbers['largest']}"
        if shown >= groups
        else f"{groups}; lines: the {shown} largest",
        f"{numbers['queries']} of {numbers['tokens']} tokens",
        f"{numbers['keys']} keys{alpha}",
    )


def _shown_groups(view: BlockView) -> NDArray:
    """Return the groups whose lines can be told apart: all, or the largest ones if lines would cross everywhere."""
    import numpy as np

    sizes = np.bincount(view.clusters.ravel())
    groups = np.flatnonzero(sizes > 1)
    if not view.merges or (sizes[groups] - 1).sum() <= MOST_LINES:
        return groups
    return np.sort(groups[np.argsort(-sizes[groups], kind="stable")[: len(_FEW_COLOURS)]])


def _group_colours(groups: int, shown: NDArray) -> NDArray:
    """Return a colour for each group; a few that are shown get colours that anybody can tell apart."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    hues = colormaps["hsv"](np.arange(groups) * 0.618034 % 1)[:, :3]  # golden ratio: neighbours differ
    if len(shown) <= len(_FEW_COLOURS):
        hues[shown] = [to_rgb(colour) for colour in _FEW_COLOURS[: len(shown)]]
    return hues


def _tinted(clusters: NDArray, hues: NDArray, grey: NDArray, shown: NDArray) -> NDArray:
    """Tint groups over the grey image, those without lines but a little; a token that is not merged stays grey."""
    import numpy as np

    strength = np.where(np.bincount(clusters.ravel()) > 1, 0.15, 0.0)  # of each group
    strength[shown] = 0.6
    base = np.repeat(0.35 + 0.6 * grey[..., None], 3, axis=2)
    share = strength[clusters][..., None]
    return share * hues[clusters] + (1 - share) * base


def _plot_lines(axes: Any, view: BlockView, hues: NDArray, shown: NDArray) -> None:
    """Plot a line from each token to the one that represents it, which gets a dot in its group's colour."""
    import numpy as np
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import withStroke

    flat, columns = view.clusters.ravel(), view.clusters.shape[1]
    kept = np.flatnonzero(view.kept if view.merges else view.anchors)
    representatives = np.full(len(hues), -1)  # of each group that is shown
    representatives[flat[kept]] = kept
    representatives[np.setdiff1d(np.arange(len(hues)), shown)] = -1
    starts = np.flatnonzero((representatives[flat] >= 0) & (representatives[flat] != np.arange(flat.size)))
    goals = representatives[flat[starts]]
    ends = np.stack([np.stack(np.divmod(each, columns)[::-1], 1) for each in (starts, goals)], 1)  # [lines 2 xy]
    few = len(shown) <= len(_FEW_COLOURS)
    width = 1.1 if few else min(1.0, 400 / flat.size + 0.35)
    colours = 0.75 * hues[flat[starts]] if few else "black"
    around = [withStroke(linewidth=width + 1.2, foreground="white")]  # else a line is lost on dark tokens
    axes.add_collection(LineCollection(list(ends), colors=colours, linewidths=width, path_effects=around))
    goals = np.unique(goals)
    y, x = np.divmod(goals, columns)
    axes.scatter(x, y, s=_dot_size(view), c=hues[flat[goals]], edgecolors="black", linewidths=0.6, zorder=3)


def _dot_size(view: BlockView) -> float:
    """Return the size of a dot that fits into a token."""
    return float(min(24.0, 12_000 / view.clusters.size))


def _kept_tokens(view: BlockView, image: Image) -> NDArray:
    """Return the image with a chequer, finer than a token, over the tokens that were merged away."""
    import numpy as np

    rows, columns = view.score.shape
    times = max(2, 96 // max(rows, columns))
    pixels = (np.asarray(image.resize((columns, rows)), dtype=float) / 255).repeat(times, 0).repeat(times, 1)
    kept = view.kept[..., None].repeat(times, 0).repeat(times, 1)
    squares = np.add.outer(np.arange(rows * times), np.arange(columns * times)) % 2
    return np.where(kept, pixels, np.array(_CHEQUER)[squares])
