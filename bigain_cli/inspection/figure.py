"""What a compression does to an image: a table of its numbers, and a figure for each timestep with a row a block."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigain_cli.outputs.files import name_of, save
from bigain_cli.outputs.plotting import png_of, title_text
from bigain_cli.outputs.text import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL.Image import Image

    from bigain_cli.inspection.inspector import BlockView, Inspection

COLUMNS = ("t", "operator", "grid", "tokens", "keys", "groups", "largest", "laplacian", "site")
MERGING = ("Laplacian score, destinations", "merged groups", "tokens kept", "image after merging")
POOLING = ("Laplacian score, samples", "cells of keys", "queries", "what keys are made from")

CHEQUER = ((0.62, 0.0, 0.44), (0.9, 0.2, 0.68))  # for tokens that were merged away: no other has two colours


def as_text(document: dict[str, Any]) -> str:
    """Lay the numbers out in columns, with what the compression saves and the figures' files below."""
    about = document["compression"]
    saved = f"{about['compress']}: {about['saved']:.1%} of a pass saved"
    table = aligned(COLUMNS, [_cells(block_view) for block_view in document["looks"]], left=len(COLUMNS))
    return "\n".join([table, saved, *document.get("pictures", {}).values()])


def _cells(block_view: dict[str, Any]) -> tuple[str, ...]:
    scores = block_view["laplacian"]
    means = " / ".join("-" if scores[name] is None else f"{scores[name]:.3g}" for name in ("anchors", "stay", "leave"))
    more = f" (+{len(block_view['serves']) - 1})" if len(block_view["serves"]) > 1 else ""
    grid, tokens = "x".join(map(str, block_view["grid"])), f"{block_view['tokens']} -> {block_view['queries']}"
    counts = (str(block_view[name]) for name in ("keys", "groups", "largest"))
    return str(block_view["t"]), block_view["operator"], grid, tokens, *counts, means, block_view["site"] + more


def figure_name(id: str, t: int) -> str:
    """Return the file name of an image's figure at one timestep."""
    return name_of(id, f"-t{t}.png")


def save_figures(folder: Path, id: str, found: Inspection) -> dict[str, str]:
    """Save a figure for each timestep, and return where each is."""
    saved = {}
    for t, views in groupby(found.views, key=lambda block_view: block_view.t):
        data = png_of(figure_of(found.image, list(views), id.rpartition("/")[2] or id))
        saved[str(t)] = str(save(folder, figure_name(id, t), data))
    return saved


def figure_of(image: Image, views: Sequence[BlockView], name: str) -> Figure:
    """Plot all blocks at one timestep."""
    from matplotlib.figure import Figure

    tall = min(max(image.height / image.width, 0.4), 2.5)
    figure = Figure(figsize=(20, 0.5 + (3.5 * tall + 0.75) * len(views)), layout="constrained")
    axes = figure.subplots(len(views), 5, squeeze=False)
    for row, block_view in zip(axes, views, strict=True):
        _row(figure, row, block_view, image)
        for place in row:
            place.set_xticks([])
            place.set_yticks([])
    figure.suptitle(f"{title_text(name)} at timestep {views[0].t}", fontsize=12, parse_math=False)
    return figure


def _row(figure: Figure, axes: Any, block_view: BlockView, image: Image) -> None:
    """Plot one block."""
    import numpy as np

    rows, columns = block_view.score.shape
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    grey = np.asarray(image.convert("L").resize((columns, rows)), dtype=float) / 255
    axes[0].imshow(image, extent=extent, interpolation="nearest" if image.width < 128 else "antialiased")
    axes[0].set_title(title_text(block_view.term), fontsize=10, parse_math=False)
    more = f" and {len(block_view.shared_by) - 1} more" if len(block_view.shared_by) > 1 else ""
    axes[0].set_ylabel(_wrapped(block_view.site) + more, fontsize=7, parse_math=False)
    plotted = axes[1].imshow(block_view.score, cmap="viridis", extent=extent)
    figure.colorbar(plotted, ax=axes[1], shrink=0.8, pad=0.02).ax.tick_params(labelsize=7)
    y, x = block_view.anchors.nonzero()
    axes[1].scatter(x, y, s=_dot(block_view), c="white", edgecolors="black", linewidths=0.4)
    hues = _hues(block_view.clusters)
    axes[2].imshow(_coloured(block_view.clusters, hues, grey), extent=extent, interpolation="nearest")
    _join(axes[2], block_view, hues)
    axes[3].imshow(_kept(block_view, image), extent=extent, interpolation="nearest")
    axes[4].imshow(block_view.reconstructed, extent=extent, interpolation="nearest")
    for place, title, fact in zip(axes[1:], MERGING if block_view.merges else POOLING, _facts(block_view), strict=True):
        place.set_title(f"{title}\n{fact}", fontsize=9)


def _facts(block_view: BlockView) -> tuple[str, str, str, str]:
    numbers = block_view.to_dict()
    alpha = "" if block_view.alpha is None else f", α = {block_view.alpha:.3g}"
    return (
        f"{numbers['anchors']} of {numbers['tokens']}",
        f"{numbers['groups']}, the largest of {numbers['largest']}",
        f"{numbers['queries']} of {numbers['tokens']} tokens",
        f"{numbers['keys']} keys{alpha}",
    )


def _hues(clusters: NDArray) -> NDArray:
    """Return a colour for each group."""
    import numpy as np
    from matplotlib import colormaps

    numbers = np.arange(clusters.max() + 1)
    return colormaps["hsv"](numbers * 0.618034 % 1)[:, :3]  # golden ratio: neighbours differ


def _coloured(clusters: NDArray, hues: NDArray, grey: NDArray) -> NDArray:
    """Tint each group over the grey image; a token by itself stays grey."""
    import numpy as np

    sizes = np.bincount(clusters.ravel())
    base = np.repeat(0.3 + 0.6 * grey[..., None], 3, axis=2)
    grouped = (sizes > 1)[clusters][..., None]
    return np.where(grouped, 0.55 * hues[clusters] + 0.45 * base, base)


def _join(axes: Any, block_view: BlockView, hues: NDArray) -> None:
    """Plot a line from each token to the one that represents it, which gets a dot of its group's colour."""
    import numpy as np
    from matplotlib.collections import LineCollection

    flat, columns = block_view.clusters.ravel(), block_view.clusters.shape[1]
    homes = np.full(len(hues), -1)
    standing = np.flatnonzero(block_view.kept if block_view.merges else block_view.anchors)
    homes[flat[standing]] = standing
    movers = np.flatnonzero((homes[flat] >= 0) & (homes[flat] != np.arange(flat.size)))
    goals = homes[flat[movers]]
    ends = np.stack([np.stack(np.divmod(each, columns)[::-1], 1) for each in (movers, goals)], 1)  # [lines 2 xy]
    axes.add_collection(LineCollection(list(ends), colors="black", linewidths=min(1.0, 400 / flat.size + 0.35)))
    goals = np.unique(goals)
    y, x = np.divmod(goals, columns)
    axes.scatter(x, y, s=_dot(block_view), c=hues[flat[goals]], edgecolors="black", linewidths=0.5, zorder=3)


def _dot(block_view: BlockView) -> float:
    """Return the size of a dot that fits into a token."""
    return float(min(24.0, 12_000 / block_view.clusters.size))


def _kept(block_view: BlockView, image: Image) -> NDArray:
    """Return the image with a chequer, finer than tokens, in place of those that were merged away."""
    import numpy as np

    rows, columns = block_view.score.shape
    times = max(2, 96 // max(rows, columns))
    pixels = (np.asarray(image.resize((columns, rows)), dtype=float) / 255).repeat(times, 0).repeat(times, 1)
    kept = block_view.kept[..., None].repeat(times, 0).repeat(times, 1)
    squares = np.add.outer(np.arange(rows * times), np.arange(columns * times)) % 2
    return np.where(kept, pixels, np.array(CHEQUER)[squares])


def _wrapped(site: str) -> str:
    """Break a block's long name."""
    head, _, tail = site.partition(".attentions")
    return f"{head}\n.attentions{tail}" if tail else site
