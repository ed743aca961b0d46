"""What all figures share: whether they can be plotted, colours, titles, fonts, and rendering to a file's bytes.

Matplotlib is optional: a run that needs it is refused before it starts, and the import waits for the first figure.
"""

from __future__ import annotations

import importlib.util
import io
import unicodedata
import warnings
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from bigain_cli.errors import UsageError
from bigain_cli.registry import SCORES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL.Image import Image

DIVERGING = "RdBu_r"  # red favours the leader; the colour-blind can distinguish it from blue
ISOLATED, ISOLATED_END = "\u2068", "\u2069"  # else a first label in Hebrew turns "A against B" into "B against A"
OWN_FONT = "DejaVu Sans"  # comes with matplotlib
FALLBACKS = (  # families on Linux, macOS and Windows with the characters it lacks; colour fonts cannot be rendered
    *("Noto Sans", "Noto Emoji", "Source Han Sans", "WenQuanYi", "Droid Sans Fallback", "FreeSans", "Unifont"),
    *("PingFang", "Hiragino Sans", "Apple SD Gothic Neo", "Apple Symbols", "Arial Unicode MS"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Segoe UI", "Nirmala UI", "Leelawadee UI"),
)
DOTS = 110  # per inch
RISK_COVERAGE = "risk-coverage"  # in the name of the second file of evaluate --figure
_KINDS = (".png", ".svg")
_OTHER_KINDS = (".pdf", ".jpg", ".jpeg", ".gif", ".webp", ".eps", ".ps", ".tif", ".tiff", ".bmp")


def has_plotting() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def can_map(score: str) -> bool:
    """Return whether a score can be mapped onto the image, and maps can be plotted."""
    return has_plotting() and bool(SCORES[score].weigh)


def require_plotting(what: str) -> None:
    """Refuse what needs matplotlib if it is not installed."""
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


def file_beside(name: str, more: str) -> str:
    """Return the file of a second figure: chart.png and chart-more.png."""
    path = PurePath(name)
    return str(path.with_name(f"{path.stem}-{more}{path.suffix}"))


def colour_limit(*maps: NDArray) -> float:
    """Return the end of the maps' common scale, which is centred on zero: the largest 99th percentile of |values|."""
    import numpy as np

    return max((float(np.quantile(np.abs(each), 0.99) or np.abs(each).max()) for each in maps), default=0.0) or 1.0


def transparent_colours(values: NDArray, limit: float) -> NDArray:
    """Colour a map on a scale from −`limit` to `limit`; over white these are the scale's colours, and zero is clear.

    Over an image they leave it visible where the map is weak.
    """  # [h w] -> [h w 4] uint8
    import numpy as np
    from matplotlib import colormaps

    colours = colormaps[DIVERGING]((values / limit).clip(-1, 1) / 2 + 0.5)[..., :3]
    alpha = 1 - colours.min(-1, keepdims=True)
    alpha[values == 0] = 0  # the scale's middle is not quite white
    pure = 1 - (1 - colours) / np.maximum(alpha, 1e-9)
    return np.rint(255 * np.concatenate([pure.clip(0, 1), alpha], -1)).astype(np.uint8)


def aspect_of(image: Image) -> float:
    """Return the height over the width of an image's axes in a figure, within bounds."""
    return min(max(image.height / image.width, 0.4), 2.5)


def show_image(axes: Any, image: Image, **options: Any) -> None:
    """Show an image, with visible pixels if it is small."""
    axes.imshow(image, interpolation="nearest" if image.width < 128 else "antialiased", **options)


def rendered(figure: Figure, form: str = "png") -> bytes:
    """Render a figure as png or svg, without a date or a program's name, a window system or shared state.

    Characters that no font has become boxes, without a warning.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[form]
    for text in figure.findobj(Text):
        if not text.get_text().isascii():
            text.set_fontfamily(_font_families())
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from (current )?font")
        FigureCanvasAgg(figure).print_figure(buffer, dpi=DOTS, format=form, metadata=metadata)
    return buffer.getvalue()


@cache
def _font_families() -> list[str]:
    """Return the installed fonts in which matplotlib searches for a character, in this order."""
    from matplotlib.font_manager import fontManager

    return [OWN_FONT, *(name for name in fontManager.get_font_names() if name.startswith(FALLBACKS))]


def font_files() -> list[str]:
    """Return the files of these fonts."""
    from matplotlib.font_manager import FontProperties, findfont

    return [findfont(FontProperties(family=[name])) for name in _font_families()]


def title_text(text: str, most: int = 40) -> str:
    """Prepare a label or a name for a title: no control characters, shortened, isolated if it runs right to left."""
    clean = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[: most + 1])
    short = clean if len(clean) <= most else clean[: most - 1] + "…"
    right_to_left = any(unicodedata.bidirectional(each) in ("R", "AL") for each in short)
    return f"{ISOLATED}{short}{ISOLATED_END}" if right_to_left else short
