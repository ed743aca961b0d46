"""One record as an article of the page: pictures, ranked labels with interval bars, or what failed.

All text from outside is escaped, and characters that would reorder text are spelt out. Must not know the page.
"""

from __future__ import annotations

from html import escape
from math import isnan
from typing import Any

from bigain_cli.outputs.interval_bars import beyond, part, span
from bigain_cli.outputs.plotting import reach
from bigain_cli.outputs.sink import Record
from bigain_cli.outputs.table import gap
from bigain_cli.outputs.text import counted, safe
from bigain_cli.outputs.thumbnails import Thumbnail, map_of, thumbnail
from bigain_cli.ranking import Failure, Ranking, Standing

STATES = ("failed", "undecided", "decided")  # as the page orders them


def state_of(record: Record) -> str:
    """Tell what became of an image."""
    if "error" in record:
        return "failed"
    return "decided" if record["decided"] else "undecided"


def article(record: Record, result: Ranking | Failure | None, number: int, top: int) -> str:
    """Return a record's article, with what the page sorts and filters by."""
    state = state_of(record)
    keys = {
        "n": number,
        "state": state,
        "name": record["id"],
        "label": record.get("label", ""),
        "p": record.get("probability", ""),
        "gap": record.get("gap", ""),
        "evals": record.get("evaluations", ""),
        **verdict_of(record),
    }
    data = "".join(f' data-{name}="{_text("" if value is None else value)}"' for name, value in keys.items())
    body = _failure(record) if state == "failed" else _answer(record, result, top)
    head = f'<header><h2 dir="auto">{_text(record["id"])}</h2><span class="badge">{state}</span></header>'
    return f'<article tabindex="0" class="{state}"{data}>{head}{_truth(record)}{body}</article>\n'


def verdict_of(record: Record) -> dict[str, str]:
    """Tell whether the answer is right, where that is known; of several right labels, the one with most evidence."""
    if "truth" not in record or "label" not in record:
        return {}
    evidence = record.get("evidence")
    answer = max(evidence, key=evidence.__getitem__) if evidence else record["label"]
    return {"verdict": "right" if answer in record["truth"] else "wrong"}


def _truth(record: Record) -> str:
    """Say what would have been right, and under which compression it was asked."""
    if "truth" not in record:
        return ""
    words = ", ".join(f"<bdi>{_text(name)}</bdi>" for name in record["truth"]) or "none of the labels"
    verdict = "".join(f"{word}; " for word in verdict_of(record).values())
    return f'<p class="truth">{verdict}true: {words} · compression {_text(record["settings"]["compress"])}</p>'


def _failure(record: Record) -> str:
    error = record["error"]
    return f'<p class="why"><b>{_text(error["kind"])}</b> {_text(error["message"])}</p>'


def _answer(record: Record, result: Ranking | Failure | None, top: int) -> str:
    ranking = result if isinstance(result, Ranking) else None
    spent = f"{counted(record['draws'], 'draw')} · {counted(record['evaluations'], 'evaluation')}"
    facts = f"gap {_text(gap(record))} · {spent}"
    return f'{_pictures(ranking)}<ol class="labels">{_rows(record, ranking, top)}</ol><p class="facts">{facts}</p>'


def _pictures(ranking: Ranking | None) -> str:
    """Return the picture and its maps, which have one scale."""
    if ranking is None or ranking.exhibit is None:
        return ""
    figures = [_figure(thumbnail(ranking.exhibit.picture), "as seen by the model", ranking.id)]
    maps = ranking.exhibit.maps
    end = reach(*(evidence.map for evidence in maps))
    for evidence in maps:
        against = "the empty prompt" if evidence.against is None else evidence.against
        about = f"where the evidence for {ranking.label} against {against} lies"
        caption = f"against <bdi>{_text(against)}</bdi>, sum {evidence.gap:.2g}"
        figures.append(_figure(map_of(evidence.map, end), caption, about))
    return f'<div class="pictures">{"".join(figures)}</div>{_scale(end) if maps else ""}'


def _scale(end: float) -> str:
    """Return the colours of the maps with the values they stand for."""
    return (
        f'<p class="scale"><span>≤ {-end:.2g}</span><span class="ramp" role="img" aria-label="blue to white to red">'
        f"</span><span>≥ {end:.2g}</span> share of the gap</p>"
    )


def _figure(image: Thumbnail, caption: str, about: str) -> str:
    """Return a picture; the caption is markup, what it is about a text."""
    small = ' class="coarse"' if max(image.width, image.height) < 96 else ""
    return (
        f'<figure><img{small} loading="lazy" decoding="async" width="{image.width}" height="{image.height}" '
        f'alt="{_text(about)}" src="{image.url}"><figcaption>{caption}</figcaption></figure>'
    )


def _rows(record: Record, ranking: Ranking | None, top: int) -> str:
    """Return the first labels, each with its interval where the whole ranking is at hand."""
    entries = record["top"][:top]
    places: list[Standing | None] = list(ranking.standings[:top]) if ranking is not None else [None] * len(entries)
    ends = span([place for place in places if place is not None])
    rows = []
    for entry, place in zip(entries, places, strict=True):
        alive = place.alive if place is not None else True
        bar = _bar(place, ends) if place is not None and not isnan(place.behind) else ""
        probability = f"<span>{entry['probability']:.2f}</span>"
        kind = "" if alive else ' class="out"'
        rows.append(f'<li{kind}><span class="label" dir="auto">{_text(entry["label"])}</span>{bar}{probability}</li>')
    return "".join(rows)


def _bar(place: Standing, ends: tuple[float, float]) -> str:
    """Return a label's gap to the winner: a mark, with its interval as a line; an arrow if it lies past the axis."""

    def x(value: float) -> str:
        return f"{100 * part(value, ends):.2f}"

    mean, radius = place.behind, place.radius or 0.0
    about = f"{mean:.3g} behind the winner" if mean else "the winner, or level with it"
    about += f", between {mean - radius:.2g} and {mean + radius:.2g}" if radius else ""
    marks = {0: f"M{x(mean)} 2V10", 1: "M97 2L100 6L97 10", -1: "M3 2L0 6L3 10"}
    return (
        f'<svg viewBox="0 0 100 12" preserveAspectRatio="none" role="img" aria-label="{about}"><title>{about}</title>'
        f'<path class="zero" d="M{x(0)} 0V12"/><path class="line" d="M{x(mean - radius)} 6H{x(mean + radius)}"/>'
        f'<path class="mark" d="{marks[beyond(mean, ends)]}"/></svg>'
    )


def _text(value: Any) -> str:
    return escape(safe(str(value)))
