"""What a compression does to a picture, drawn: a row for each block, a figure for each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bigain_cli.outputs.plotting import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL.Image import Image

    from bigain_cli.inspection import Look

MERGING = ("Laplacian score, destinations", "merged groups", "what stays", "what is left of the picture")
POOLING = ("Laplacian score, samples", "cells of keys", "queries", "what keys are made from")


def figure_of(picture: Image, looks: Sequence[Look], name: str) -> Figure:
    """Draw all blocks at one time."""
    from matplotlib.figure import Figure

    tall = min(max(picture.height / picture.width, 0.4), 2.5)
    figure = Figure(figsize=(15, 0.7 + (2.7 * tall + 0.75) * len(looks)), layout="constrained")
    axes = figure.subplots(len(looks), 5, squeeze=False)
    for row, look in zip(axes, looks, strict=True):
        _row(figure, row, look, picture)
        for place in row:
            place.set_xticks([])
            place.set_yticks([])
    figure.suptitle(f"{shown(name)} at time {looks[0].t}", fontsize=12, parse_math=False)
    return figure


def _row(figure: Figure, axes: Any, look: Look, picture: Image) -> None:
    """Draw one block."""
    import numpy as np

    rows, columns = look.score.shape
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    grey = np.asarray(picture.convert("L").resize((columns, rows)), dtype=float) / 255
    axes[0].imshow(picture, extent=extent, interpolation="nearest" if picture.width < 128 else "antialiased")
    axes[0].set_title(shown(look.term), fontsize=10, parse_math=False)
    more = f" and {len(look.serves) - 1} more" if len(look.serves) > 1 else ""
    axes[0].set_ylabel(_wrapped(look.site) + more, fontsize=7, parse_math=False)
    drawn = axes[1].imshow(look.score, cmap="viridis", extent=extent)
    figure.colorbar(drawn, ax=axes[1], shrink=0.8, pad=0.02).ax.tick_params(labelsize=7)
    y, x = look.anchors.nonzero()
    axes[1].scatter(x, y, s=min(14.0, 5000 / look.score.size), c="white", edgecolors="black", linewidths=0.4)
    axes[2].imshow(_coloured(look.clusters, grey), extent=extent, interpolation="nearest")
    axes[3].imshow(_faded(look, picture), extent=extent, interpolation="nearest")
    axes[4].imshow(look.left, extent=extent, interpolation="nearest")
    for place, title, fact in zip(axes[1:], MERGING if look.merges else POOLING, _facts(look), strict=True):
        place.set_title(f"{title}\n{fact}", fontsize=9)


def _facts(look: Look) -> tuple[str, str, str, str]:
    numbers = look.to_dict()
    alpha = "" if look.alpha is None else f", α = {look.alpha:.3g}"
    return (
        f"{numbers['anchors']} of {numbers['tokens']}",
        f"{numbers['groups']}, the largest of {numbers['largest']}",
        f"{numbers['queries']} of {numbers['tokens']} tokens",
        f"{numbers['keys']} keys{alpha}",
    )


def _coloured(clusters: NDArray, grey: NDArray) -> NDArray:
    """Give each group a colour over the grey picture; who is alone stays grey."""
    import numpy as np
    from matplotlib import colormaps

    sizes = np.bincount(clusters.ravel())
    hues = colormaps["hsv"](np.arange(len(sizes)) * 0.618034 % 1)[:, :3]  # golden ratio: neighbours differ
    base = np.repeat(0.25 + 0.6 * grey[..., None], 3, axis=2)
    grouped = (sizes > 1)[clusters][..., None]
    return np.where(grouped, 0.7 * hues[clusters] + 0.3 * base, base)


def _faded(look: Look, picture: Image) -> NDArray:
    """Show the tokens that stay, and the others as white."""
    import numpy as np

    rows, columns = look.score.shape
    pixels = np.asarray(picture.resize((columns, rows)), dtype=float) / 255
    return np.where(look.stays[..., None], pixels, 1.0)


def _wrapped(site: str) -> str:
    """Break a block's long name."""
    head, _, tail = site.partition(".attentions")
    return f"{head}\n.attentions{tail}" if tail else site
