"""The plotting library, which is optional: refused before a run when it is missing, imported when a figure is made."""

from __future__ import annotations

import importlib.util
import io
import unicodedata
import warnings
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING

from bigain_cli.errors import UsageError
from bigain_cli.registry import SCORES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

DIVERGING = "RdBu_r"  # red speaks for the winner; the colour-blind can tell it from blue
ISOLATED, ISOLATED_END = "\u2068", "\u2069"  # else a first label in Hebrew turns "A against B" into "B against A"
OWN_FONT = "DejaVu Sans"  # comes with matplotlib
FALLBACKS = (  # families that have what it lacks, usual on Linux, macOS and Windows; colour fonts cannot be rendered
    *("Noto Sans", "Noto Emoji", "Source Han Sans", "WenQuanYi", "Droid Sans Fallback", "FreeSans", "Unifont"),
    *("PingFang", "Hiragino Sans", "Apple SD Gothic Neo", "Apple Symbols", "Arial Unicode MS"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Segoe UI", "Nirmala UI", "Leelawadee UI"),
)
DOTS = 110  # per inch
_KINDS = (".png", ".svg")
_OTHER_KINDS = (".pdf", ".jpg", ".jpeg", ".gif", ".webp", ".eps", ".ps", ".tif", ".tiff", ".bmp")


def has_plotting() -> bool:
    """Say whether the plotting library is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def can_map(score: str) -> bool:
    """Say whether a score can be mapped onto the image, and maps can be plotted."""
    return has_plotting() and bool(SCORES[score].weigh)


def require_plotting(what: str) -> None:
    """Refuse what needs the plotting library where there is none."""
    if not has_plotting():
        raise UsageError(what, "matplotlib plots it, and it is not installed", "pip install 'bigain[see]'")


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
    """Render a figure as PNG."""
    return drawn(figure, "png")


def drawn(figure: Figure, form: str) -> bytes:
    """Render a figure as png or svg, without a date or a name in it; no window system and no shared state is involved.

    Characters that no font has become boxes, without a warning.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    nameless = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    for text in figure.findobj(Text):
        if not text.get_text().isascii():
            text.set_fontfamily(_families())
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from (current )?font")
        FigureCanvasAgg(figure).print_figure(buffer, dpi=DOTS, format=form, metadata=nameless[form])
    return buffer.getvalue()


@cache
def _families() -> list[str]:
    """Return the fonts that matplotlib is to search for a character, in this order, of those that are installed."""
    from matplotlib.font_manager import fontManager

    return [OWN_FONT, *(name for name in fontManager.get_font_names() if name.startswith(FALLBACKS))]


def title_text(text: str, most: int = 40) -> str:
    """Prepare a label or a name for a title: no control characters, not without end, from the right where it is."""
    clean = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[: most + 1])
    short = clean if len(clean) <= most else clean[: most - 1] + "…"
    from_the_right = any(unicodedata.bidirectional(each) in ("R", "AL") for each in short)
    return f"{ISOLATED}{short}{ISOLATED_END}" if from_the_right else short
