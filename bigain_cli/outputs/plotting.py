"""The plotting library, which is optional: said before a run when it is missing, imported when something is drawn."""

from __future__ import annotations

import importlib.util
import io
from typing import TYPE_CHECKING

from bigain_cli.errors import UsageError
from bigain_cli.outputs.lettering import letter, spelt

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

DIVERGING = "RdBu_r"  # red speaks for the winner; told apart by the colour-blind, too
DOTS = 110  # per inch


def require_plotting(what: str) -> None:
    """Refuse what needs the plotting library where there is none."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(what, "matplotlib draws it, and it is not installed", "pip install 'bigain[see]'")


def reach(*maps: NDArray) -> float:
    """Return where the one scale of maps, centred on zero, ends: beyond all but the outermost hundredth of each."""
    import numpy as np

    return max((float(np.quantile(np.abs(each), 0.99) or np.abs(each).max()) for each in maps), default=0.0) or 1.0


def png_of(figure: Figure) -> bytes:
    """Draw a figure; no window system and no state that figures share is involved."""
    return drawn(figure, "png")


def drawn(figure: Figure, form: str) -> bytes:
    """Draw a figure as png or svg, without a date or a name in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    nameless = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    letter(figure)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, dpi=DOTS, format=form, metadata=nameless[form])
    return buffer.getvalue()


def shown(text: str, most: int = 40) -> str:
    """Prepare a label or a name for a title: no control characters, none that no font has, not without end."""
    clean = spelt("".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[: most + 1]))
    return clean if len(clean) <= most else clean[: most - 1] + "…"
