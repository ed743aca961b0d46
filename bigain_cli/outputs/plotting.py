"""The plotting library, which is optional: said before a run when it is missing, imported when something is drawn."""

from __future__ import annotations

import importlib.util
import io
import unicodedata
from pathlib import PurePath
from typing import TYPE_CHECKING

from bigain_cli.errors import UsageError
from bigain_cli.outputs.lettering import letter, spelt
from bigain_cli.registry import SCORES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

DIVERGING = "RdBu_r"  # red speaks for the winner; told apart by the colour-blind, too
ISOLATED, ISOLATED_END = "\u2068", "\u2069"  # between these, a text's direction concerns nobody else
DOTS = 110  # per inch
_KINDS = (".png", ".svg")
_OTHER_KINDS = (".pdf", ".jpg", ".jpeg", ".gif", ".webp", ".eps", ".ps", ".tif", ".tiff", ".bmp")


def has_plotting() -> bool:
    """Tell whether the plotting library is here."""
    return importlib.util.find_spec("matplotlib") is not None


def can_map(score: str) -> bool:
    """Tell whether a score has a place in the picture, and it can be drawn."""
    return has_plotting() and bool(SCORES[score].weigh)


def require_plotting(what: str) -> None:
    """Refuse what needs the plotting library where there is none."""
    if not has_plotting():
        raise UsageError(what, "matplotlib draws it, and it is not installed", "pip install 'bigain[see]'")


def figure_files(name: str) -> tuple[str, ...]:
    """Return the files that --figure names, one by its suffix or one of each kind; refuse what cannot be plotted."""
    path = PurePath(name)
    if not path.name:
        raise UsageError(f"--figure {name!r}", "names no file", "Write --figure chart.png.")
    if path.suffix.lower() in _OTHER_KINDS:
        raise UsageError(f"--figure {name}", "is plotted as PNG or SVG only", "Write --figure chart.svg.")
    require_plotting("--figure")
    return (name,) if path.suffix.lower() in _KINDS else tuple(name + kind for kind in _KINDS)


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
    short = clean if len(clean) <= most else clean[: most - 1] + "…"
    return f"{ISOLATED}{short}{ISOLATED_END}" if _from_the_right(short) else short


def _from_the_right(text: str) -> bool:
    """Tell whether a text would turn what stands around it."""
    return any(unicodedata.bidirectional(each) in ("R", "AL") for each in text)
