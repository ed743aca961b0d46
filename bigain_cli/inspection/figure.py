"""An inspection as a table of its numbers, and as a figure for each timestep with a row for each block."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigain_cli.outputs.plotting import aspect_of, rendered, show_image, title_text
from bigain_cli.outputs.text import aligned
from bigain_cli.outputs.whole_files import file_name, save_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL.Image import Image

    from bigain_cli.inspection.inspector import BlockView, Inspection

_COLUMNS = ("t", "operator", "grid", "tokens", "keys", "groups", "largest", "laplacian", "site")
_MERGING_TITLES = ("Laplacian score, destinations", "merged groups", "tokens kept", "image after merging")
_POOLING_TITLES = ("Laplacian score, samples", "cells of keys", "queries", "image that keys are made from")
_CHEQUER = ((0.62, 0.0, 0.44), (0.9, 0.2, 0.68))  # for tokens that were merged away: no other has two colours


def as_text(document: dict[str, Any]) -> str:
    """Align the numbers in columns, with the share of operations saved and the figures' files below."""
    about = document["compression"]
    saved = f"{about['compress']}: {about['saved']:.1%} of a pass saved"
    table = aligned(_COLUMNS, [_cells(numbers) for numbers in document["looks"]], left=len(_COLUMNS))
    return "\n".join([table, saved, *document.get("pictures", {}).values()])


def _cells(numbers: dict[str, Any]) -> tuple[str, ...]:
    scores = numbers["laplacian"]
    means = " / ".join("-" if scores[name] is None else f"{scores[name]:.3g}" for name in ("anchors", "stay", "leave"))
    more = f" (+{len(numbers['serves']) - 1})" if len(numbers["serves"]) > 1 else ""
    grid, tokens = "x".join(map(str, numbers["grid"])), f"{numbers['tokens']} -> {numbers['queries']}"
    counts = (str(numbers[name]) for name in ("keys", "groups", "largest"))
    return str(numbers["t"]), numbers["operator"], grid, tokens, *counts, means, numbers["site"] + more


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
    """Plot all blocks at one timestep."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(20, 0.5 + (3.5 * aspect_of(image) + 0.75) * len(views)), layout="constrained")
    for row, view in zip(figure.subplots(len(views), 5, squeeze=False), views, strict=True):
        _plot_block(figure, row, view, image)
    figure.suptitle(f"{title_text(name)} at timestep {views[0].t}", fontsize=12, parse_math=False)
    return figure


def _plot_block(figure: Figure, axes: Any, view: BlockView, image: Image) -> None:
    """Plot one block into a row of axes."""
    import numpy as np

    rows, columns = view.score.shape
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    grey = np.asarray(image.convert("L").resize((columns, rows)), dtype=float) / 255
    show_image(axes[0], image, extent=extent)
    axes[0].set_title(title_text(view.term), fontsize=10, parse_math=False)
    more = f" and {len(view.shared_by) - 1} more" if len(view.shared_by) > 1 else ""
    site = view.site.replace(".attentions", "\n.attentions", 1)
    axes[0].set_ylabel(site + more, fontsize=7, parse_math=False)
    scores = axes[1].imshow(view.score, cmap="viridis", extent=extent)
    figure.colorbar(scores, ax=axes[1], shrink=0.8, pad=0.02).ax.tick_params(labelsize=7)
    y, x = view.anchors.nonzero()
    axes[1].scatter(x, y, s=_dot_size(view), c="white", edgecolors="black", linewidths=0.4)
    hues = _group_colours(view.clusters)
    axes[2].imshow(_tinted(view.clusters, hues, grey), extent=extent, interpolation="nearest")
    _plot_lines(axes[2], view, hues)
    axes[3].imshow(_kept_tokens(view, image), extent=extent, interpolation="nearest")
    axes[4].imshow(view.reconstructed, extent=extent, interpolation="nearest")
    titles = _MERGING_TITLES if view.merges else _POOLING_TITLES
    for each, title, counts in zip(axes[1:], titles, _counts(view), strict=True):
        each.set_title(f"{title}\n{counts}", fontsize=9)
    for each in axes:
        each.set(xticks=[], yticks=[])


def _counts(view: BlockView) -> tuple[str, str, str, str]:
    numbers = view.to_dict()
    alpha = "" if view.alpha is None else f", α = {view.alpha:.3g}"
    return (
        f"{numbers['anchors']} of {numbers['tokens']}",
        f"{numbers['groups']}, the largest of {numbers['largest']}",
        f"{numbers['queries']} of {numbers['tokens']} tokens",
        f"{numbers['keys']} keys{alpha}",
    )


def _group_colours(clusters: NDArray) -> NDArray:
    """Return a colour for each group."""
    import numpy as np
    from matplotlib import colormaps

    numbers = np.arange(clusters.max() + 1)
    return colormaps["hsv"](numbers * 0.618034 % 1)[:, :3]  # golden ratio: neighbours differ


def _tinted(clusters: NDArray, hues: NDArray, grey: NDArray) -> NDArray:
    """Tint each group over the grey image; a token that is not merged stays grey."""
    import numpy as np

    sizes = np.bincount(clusters.ravel())
    base = np.repeat(0.3 + 0.6 * grey[..., None], 3, axis=2)
    grouped = (sizes > 1)[clusters][..., None]
    return np.where(grouped, 0.55 * hues[clusters] + 0.45 * base, base)


def _plot_lines(axes: Any, view: BlockView, hues: NDArray) -> None:
    """Plot a line from each token to the one that represents it, which gets a dot in its group's colour."""
    import numpy as np
    from matplotlib.collections import LineCollection

    flat, columns = view.clusters.ravel(), view.clusters.shape[1]
    kept = np.flatnonzero(view.kept if view.merges else view.anchors)
    representatives = np.full(len(hues), -1)  # of each group
    representatives[flat[kept]] = kept
    starts = np.flatnonzero((representatives[flat] >= 0) & (representatives[flat] != np.arange(flat.size)))
    goals = representatives[flat[starts]]
    ends = np.stack([np.stack(np.divmod(each, columns)[::-1], 1) for each in (starts, goals)], 1)  # [lines 2 xy]
    axes.add_collection(LineCollection(list(ends), colors="black", linewidths=min(1.0, 400 / flat.size + 0.35)))
    goals = np.unique(goals)
    y, x = np.divmod(goals, columns)
    axes.scatter(x, y, s=_dot_size(view), c=hues[flat[goals]], edgecolors="black", linewidths=0.5, zorder=3)


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
