"""What a page shows of one record: the answer, maps, ranked labels with interval bars, or the error.

In: a record and its result; out: the values of the templates, which escape them. Must not know the page.
"""

from __future__ import annotations

from math import isnan
from typing import Any

from bigain_cli.classification.ranking import UNSURE, Failure, ImageEvidence, RankedLabel, Ranking
from bigain_cli.outputs.interval_bars import axis_ends, beyond, fraction, in_order
from bigain_cli.outputs.output_format import Record
from bigain_cli.outputs.plotting import colour_limit
from bigain_cli.outputs.table import gap_text
from bigain_cli.outputs.text import counted
from bigain_cli.outputs.thumbnails import map_thumbnail, thumbnail

STATES = ("failed", "open", "settled")  # as the page orders them
VERDICTS = ("wrong", UNSURE, "right")  # so, too


def state_of(record: Record) -> str:
    """Return a record's state; in older records `settled` has another name."""
    if "error" in record:
        return "failed"
    return "settled" if record.get("settled", record.get("decided")) else "open"


def answer_of(record: Record) -> str:
    """Return a record's answer: its label unless that is too improbable; none if it failed."""
    return str(record.get("answer", record.get("label", "")))


def verdict_of(record: Record) -> str:
    """Return whether the answer is right, if the truth is known; with evidence for each label, the best counts."""
    if "truth" not in record or "label" not in record:
        return ""
    if answer_of(record) == UNSURE != record["label"]:
        return UNSURE
    evidence = record.get("evidence")
    answer = max(evidence, key=evidence.__getitem__) if evidence else record["label"]
    return "right" if answer in record["truth"] else "wrong"


def rank_of(record: Record) -> int:
    """Return the place of a record's article: failures first, then wrong answers, then open ones."""
    state, verdict = state_of(record), verdict_of(record)
    if state == "failed":
        return 0
    return 1 + STATES.index(state) + (len(STATES) * VERDICTS.index(verdict) if verdict else 0)


def photo_of(result: Ranking | Failure | None) -> dict[str, Any] | None:
    """Return the image as the model sees it."""
    evidence = _evidence(result)
    return {"image": thumbnail(evidence.image), "about": result.id} if evidence is not None and result else None


def has_maps(result: Ranking | Failure | None) -> bool:
    """Return whether a result has maps."""
    evidence = _evidence(result)
    return evidence is not None and bool(evidence.maps)


def answer_values(record: Record, result: Ranking | Failure | None, top: int) -> dict[str, Any]:
    """Return the values of what is shown of an answer; those in `data` are what the page sorts and filters by."""
    state = state_of(record)
    data = {
        "state": state,
        "rank": rank_of(record),
        "label": answer_of(record),
        "p": record.get("probability", ""),
        "gap": "" if record.get("gap") is None else record["gap"],
        "evals": record.get("evaluations", ""),
        "verdict": verdict_of(record),
    }
    values = {"record": record, "state": state, "data": data, "answer": data["label"]}
    if state == "failed":
        return values
    ranking = result if isinstance(result, Ranking) else None
    return {
        **values,
        **_maps(ranking),
        "rows": _rows(record, ranking, top),
        "gap": gap_text(record),
        "draws": counted(record["draws"], "draw"),
        "evaluations": counted(record["evaluations"], "evaluation"),
    }


def _evidence(result: Ranking | Failure | None) -> ImageEvidence | None:
    return result.evidence if isinstance(result, Ranking) else None


def _maps(ranking: Ranking | None) -> dict[str, Any]:
    """Return an image's maps, and the end of their common scale."""
    if ranking is None or ranking.evidence is None:
        return {"maps": [], "scale": ""}
    maps = ranking.evidence.maps
    limit = colour_limit(*(evidence.map for evidence in maps))
    figures = []
    for evidence in maps:
        against = "the empty prompt" if evidence.against is None else evidence.against
        about = f"where the evidence for {ranking.label} against {against} lies"
        image = map_thumbnail(evidence.map, limit)
        figures.append({"image": image, "about": about, "against": against, "sum": f"{evidence.gap:.2g}"})
    return {"maps": figures, "scale": f"{limit:.2g}" if maps else ""}


def _rows(record: Record, ranking: Ranking | None, top: int) -> list[dict[str, Any]]:
    """Return the first labels, with interval bars if the whole ranking is given."""
    entries = record["top"][:top]
    ranked: list[RankedLabel | None] = [None] * len(entries)
    if ranking is not None:
        ranked = [*in_order(ranking.ranked[:top])]
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
