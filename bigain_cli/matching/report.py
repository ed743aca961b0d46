"""Matches as text and as one JSON document. Must not know how matches are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import Any

from bigain_cli.classification.ranking import Failure
from bigain_cli.intervals import Interval
from bigain_cli.matching.image_match import BestImage, ImageMatch
from bigain_cli.matching.pair_match import SCORES, PairMatch, PairSummary
from bigain_cli.outputs.text import COLUMNS, aligned, safe, shortened

HEAD = ("caption", "evidence [interval]", "gap to next")
MOST_CAPTION = 20  # cells of a caption in a narrow table
NOTE = """Evidence: by how much the caption lowers the score's loss, against the empty
prompt, with its interval. Settled: more draws would hardly change the order.
Weak: it is not surely better than the empty prompt. --json has everything."""


def images_as_text(matches: Sequence[ImageMatch | Failure], best: Sequence[BestImage], wide: bool) -> str:
    """Return two tables: the best caption of each image, and the best image of each caption."""
    tables = [_aligned((*HEAD, "verdict", "image"), map(_image_row, matches), wide)]
    if best:
        rows = ([each.caption, _number(each.evidence), _gap(each.gap), each.image] for each in best)
        tables.append(_aligned((*HEAD, "best image"), rows, wide))
    return "\n\n".join([*tables, NOTE])


def pairs_as_text(matches: Sequence[PairMatch | Failure], summary: PairSummary | None, wide: bool) -> str:
    """Return a line for each pair, and the shares of all."""
    rows = [list(_pair_row(match)) for match in matches]
    tables = [aligned(("pair", *SCORES, "verdict"), rows, left=5, width=None if wide else COLUMNS)]
    if summary is not None:
        shares = [[name, found.percent(), f"{100 * SCORES[name]:.1f}"] for name, found in summary.scores.items()]
        tables.append(aligned(("score", "right %", "by chance"), shares))
    return "\n\n".join(tables)


def document(matches: Sequence[Any], **more: Any) -> dict[str, Any]:
    """Return everything as one JSON object."""
    return {**more, "records": [match.to_dict() for match in matches]}


def headline(matches: Sequence[Any], summary: PairSummary | None) -> str:
    """Return what a run found, as a phrase."""
    if summary is not None:
        return ", ".join(f"{name} {found.percent(unit=' %')}" for name, found in summary.scores.items())
    found = [match for match in matches if isinstance(match, ImageMatch)]
    return f"{sum(match.settled for match in found)} settled, {sum(not match.settled for match in found)} open"


def _image_row(match: ImageMatch | Failure) -> list[str]:
    if isinstance(match, Failure):
        return ["–", "–", "–", "error", match.id]
    verdict = f"{'settled' if match.settled else 'open'}{'' if match.fits else ', weak'}"
    return [match.caption, _number(match.captions[0].evidence), _gap(match.gap), verdict, match.id]


def _pair_row(match: PairMatch | Failure) -> Iterator[str]:
    yield safe(match.id)
    if isinstance(match, Failure):
        yield from ("–", "–", "–", "error")
        return
    yield from ("yes" if getattr(match, name) else "no" for name in SCORES)
    yield "settled" if match.settled else "open"


def _aligned(head: Sequence[str], rows: Iterable[Sequence[str]], wide: bool) -> str:
    """Align a table; a narrow one has no gaps, and shortens captions and the names of images."""
    table = [[safe(cell) for cell in row] for row in rows]
    if wide:
        return aligned(head, table, left=len(head))
    kept = [at for at, name in enumerate(head) if name != HEAD[-1]]
    short = [[shortened(row[0], MOST_CAPTION), *(row[at] for at in kept[1:])] for row in table]
    return aligned([head[at] for at in kept], short, left=len(kept), width=COLUMNS, names=len(kept) - 1)


def _gap(found: Interval | None) -> str:
    return "–" if found is None else f"{found.value:.3g}"


def _number(found: Interval) -> str:
    if not (isfinite(found.low) and isfinite(found.high)):
        return f"{found.value:.3g} [–]"  # of fewer draws than tell an interval
    return f"{found.value:.3g} [{found.low:.2g}, {found.high:.2g}]"
