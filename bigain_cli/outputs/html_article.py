"""What the report shows of one record: images, ranked labels with interval bars, or the error.

In: a record and its result; out: the values of `page/article.html.j2`, which escapes them. Must not know the page.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from PIL import Image as PIL
from PIL.Image import Image, Resampling

from bigain_cli.classification.ranking import Failure, RankedLabel, Ranking
from bigain_cli.outputs.interval_bars import axis_ends, beyond, fraction
from bigain_cli.outputs.output_format import Record
from bigain_cli.outputs.plotting import DIVERGING, colour_limit
from bigain_cli.outputs.table import gap_text
from bigain_cli.outputs.text import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATES = ("failed", "undecided", "decided")  # as the page orders them
SIDE = 160  # pixels of a thumbnail's longer side at most
LOSSLESS = 64  # pixels of the longer side up to which it is a PNG, because JPEG blurs what is enlarged


@dataclass(frozen=True)
class Thumbnail:
    """A small image as a data URL."""

    url: str
    width: int
    height: int


def state_of(record: Record) -> str:
    """Return a record's state."""
    if "error" in record:
        return "failed"
    return "decided" if record["decided"] else "undecided"


def verdict_of(record: Record) -> dict[str, str]:
    """Return whether the answer is right, if the truth is known; with evidence for each label, the best counts."""
    if "truth" not in record or "label" not in record:
        return {}
    evidence = record.get("evidence")
    answer = max(evidence, key=evidence.__getitem__) if evidence else record["label"]
    return {"verdict": "right" if answer in record["truth"] else "wrong"}


def article_values(record: Record, result: Ranking | Failure | None, number: int, top: int) -> dict[str, Any]:
    """Return the values of a record's article; those in `data` are what the page sorts and filters by."""
    data = {
        "n": number,
        "state": state_of(record),
        "name": record["id"],
        "label": record.get("label"),
        "p": record.get("probability"),
        "gap": record.get("gap"),
        "evals": record.get("evaluations"),
        "verdict": "",
        **verdict_of(record),
    }
    data = {key: "" if value is None else value for key, value in data.items()}
    values = {"record": record, "state": data["state"], "data": data}
    if "error" in record:
        return values
    ranking = result if isinstance(result, Ranking) else None
    return {
        **values,
        **_images(ranking),
        "rows": _rows(record, ranking, top),
        "gap": gap_text(record),
        "draws": counted(record["draws"], "draw"),
        "evaluations": counted(record["evaluations"], "evaluation"),
    }


def _images(ranking: Ranking | None) -> dict[str, Any]:
    """Return the image and its maps, and the end of the maps' common scale."""
    if ranking is None or ranking.evidence is None:
        return {"figures": [], "scale": ""}
    maps = ranking.evidence.maps
    limit = colour_limit(*(evidence.map for evidence in maps))
    figures = [_figure(thumbnail(ranking.evidence.image), ranking.id)]
    for evidence in maps:
        against = "the empty prompt" if evidence.against is None else evidence.against
        about = f"where the evidence for {ranking.label} against {against} lies"
        figures.append(_figure(map_thumbnail(evidence.map, limit), about, against, f"{evidence.gap:.2g}"))
    return {"figures": figures, "scale": f"{limit:.2g}" if maps else ""}


def _figure(image: Thumbnail, about: str, against: str = "", total: str = "") -> dict[str, Any]:
    coarse = max(image.width, image.height) < 96
    return {"image": image, "about": about, "against": against, "sum": total, "coarse": coarse}


def _rows(record: Record, ranking: Ranking | None, top: int) -> list[dict[str, Any]]:
    """Return the first labels, with interval bars if the whole ranking is given."""
    entries = record["top"][:top]
    ranked: list[RankedLabel | None] = list(ranking.ranked[:top]) if ranking is not None else [None] * len(entries)
    ends = axis_ends([each for each in ranked if each is not None])
    return [
        {
            "label": entry["label"],
            "probability": f"{entry['probability']:.2f}",
            "eliminated": each is not None and not each.is_contender,
            "bar": _bar(each, ends) if each is not None and not isnan(each.gap) else None,
        }
        for entry, each in zip(entries, ranked, strict=True)
    ]


def _bar(ranked: RankedLabel, ends: tuple[float, float]) -> dict[str, str]:
    """Return a label's gap to the leader: a mark on its interval's line, an arrow if it is beyond the axis."""

    def x(value: float) -> str:
        return f"{100 * fraction(value, ends):.2f}"

    mean, half_width = ranked.gap, ranked.half_width or 0.0
    about = f"{mean:.3g} behind the leader" if mean else "the leader, or level with it"
    about += f", between {mean - half_width:.2g} and {mean + half_width:.2g}" if half_width else ""
    marks = {0: f"M{x(mean)} 2V10", 1: "M97 2L100 6L97 10", -1: "M3 2L0 6L3 10"}
    return {
        "about": about,
        "zero": x(0),
        "low": x(mean - half_width),
        "high": x(mean + half_width),
        "mark": marks[beyond(mean, ends)],
    }


def thumbnail(image: Image) -> Thumbnail:
    """Shrink an image."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE), Resampling.LANCZOS)
    if max(small.size) <= LOSSLESS:
        return _encoded(small, "PNG", optimize=True)
    return _encoded(small, "JPEG", quality=80, optimize=True)


def map_thumbnail(values: NDArray, limit: float) -> Thumbnail:
    """Colour a map on a scale from −`limit` to `limit`, with white for zero."""
    import numpy as np
    from matplotlib import colormaps

    levels = np.rint((values / limit).clip(-1, 1) * 127 + 127).astype(np.uint8)  # 127 is zero
    image = PIL.fromarray(levels, "L")
    image.thumbnail((SIDE, SIDE), Resampling.BOX)
    image = PIL.frombytes("P", image.size, image.tobytes())
    palette = colormaps[DIVERGING](np.linspace(0, 1, 255))[:, :3]
    image.putpalette((palette * 255).round().astype(np.uint8).tobytes())
    return _encoded(image, "PNG", optimize=True)


def _encoded(image: Image, form: str, **options: bool | int) -> Thumbnail:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(f"data:image/{form.lower()};base64,{data}", *image.size)
