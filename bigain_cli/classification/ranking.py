"""The result for one image: its labels in order, with probability, score, gap and interval; or why it failed.

In come plain numbers; out goes one record per image, ready for JSON. Must not know torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bigain_cli.errors import UsageError
from bigain_cli.limits import is_number

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

UNSURE = "unsure"  # the answer where the best label's probability is too low


@dataclass(frozen=True)
class EvidenceMap:
    """The evidence for the leader and against another label; the map's sum is the gap between the two."""

    against: str | None  # None: the empty prompt
    gap: float
    draws: int  # shared by both labels
    map: NDArray  # [h w] float64, positive where the image supports the leader
    remainder: float = 0.0  # of scores that do not add up: the part of the gap that is spread evenly over the map


@dataclass(frozen=True)
class ImageEvidence:
    """One image as the model sees it, and its evidence maps, if they were requested."""

    image: Image
    maps: tuple[EvidenceMap, ...] = ()


@dataclass(frozen=True)
class RankedLabel:
    """One label of a ranking, with its score (higher is better) over its draws."""

    label: str
    probability: float
    score: float
    draws: int
    is_contender: bool = True  # whether its gap to the leader is not significant
    gap: float = 0.0  # to the leader: the mean paired difference over their shared draws
    standard_error: float = 0.0  # of the gap
    half_width: float | None = None  # of the gap's interval; None if there are too few draws

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the record's `top` list."""
        return {
            "label": self.label,
            "probability": significant(self.probability),
            "score": significant(self.score),
            "draws": self.draws,
        }


@dataclass(frozen=True)
class Ranking:
    """Every label of one image, best first, after `draws` shared draws; with a shortlist, those that were asked."""

    id: str
    ranked: tuple[RankedLabel, ...]
    settled: bool  # whether more draws would hardly change which label is first
    gap: float | None
    gap_interval: tuple[float, float] | None
    draws: int
    evaluations: int
    finished: bool = True
    seconds: float | None = None
    gflop: float = 0.0  # 10⁹ operations of the network; what labels share counts once a draw
    settings: dict[str, Any] = field(default_factory=dict)
    evidence: ImageEvidence | None = field(default=None, compare=False)
    not_asked: int | None = None  # labels that a shortlist left out; None: there was no shortlist
    remainder: float = 0.0  # the probability that it is one of these
    damage: str = ""  # why a part of the image's pixels was made up, if it was
    sha256: str | None = field(default=None, compare=False)  # of the image's file, if it has one

    def __repr__(self) -> str:
        verdict = "settled" if self.settled else f"open between {len(self.contenders)} labels"
        effort = f"{self.draws} draw{'' if self.draws == 1 else 's'}{'' if self.finished else ' so far'}"
        return f"<Ranking {self.label!r} {self.probability:.3g}, {verdict}, {effort}, {self.id!r}>"

    @property
    def label(self) -> str:
        """The label in the lead."""
        return self.ranked[0].label

    @property
    def answer(self) -> str:
        """The label in the lead, or "unsure" if its probability is below the one asked for."""
        return answer(self.label, self.probability, self.settings.get("min_probability"))

    @property
    def decided(self) -> bool:
        """The old name of `settled`."""
        warnings.warn("Ranking.decided is now called Ranking.settled", DeprecationWarning, stacklevel=2)
        return self.settled

    @property
    def probability(self) -> float:
        """The leader's probability; those of all labels, and the remainder, sum to one."""
        return self.ranked[0].probability

    @property
    def runner_up(self) -> str | None:
        """The second label, if there is one."""
        return self.ranked[1].label if len(self.ranked) > 1 else None

    @property
    def contenders(self) -> tuple[str, ...]:
        """The leader, and the labels whose gap to it is not significant."""
        return tuple(label.label for label in self.ranked if label.is_contender)

    def short_of(self, not_asked: int, remainder: float) -> Ranking:
        """Return this ranking of the labels asked, where others were not, which share a probability of `remainder`."""
        ranked = tuple(replace(each, probability=each.probability * (1 - remainder)) for each in self.ranked)
        return replace(self, ranked=ranked, not_asked=not_asked, remainder=remainder)

    def to_dict(self, top: int | None = 5) -> dict[str, Any]:
        """Return the record with at most `top` labels (None: all)."""
        record: dict[str, Any] = {
            "id": self.id,
            "label": self.label,
            "answer": self.answer,
            "probability": significant(self.probability),
            "settled": self.settled,
            "decided": self.settled,  # its old name, for one more version
            "runner_up": self.runner_up,
            "gap": significant(self.gap),
            "gap_interval": None if self.gap_interval is None else [significant(end) for end in self.gap_interval],
        }
        if not self.settled:
            record["contenders"] = list(self.contenders)
        record["top"] = [label.to_dict() for label in self.ranked[:top]]
        if self.not_asked is not None:
            record["asked"], record["not_asked"] = len(self.ranked), self.not_asked
            record["remainder"] = significant(self.remainder)
        record["draws"] = self.draws
        record["evaluations"] = self.evaluations
        if self.gflop:
            record["gflop"] = significant(self.gflop, 6)
        if self.seconds is not None:
            record["seconds"] = round(self.seconds, 3)
        if self.damage:
            record["damaged"] = True
        if self.sha256 is not None:
            record["sha256"] = self.sha256
        record["settings"] = dict(self.settings)
        return record


@dataclass(frozen=True)
class Failure:
    """An image that could not be classified, and why."""

    id: str
    kind: str
    message: str
    settings: dict[str, Any] = field(default_factory=dict)
    finished: bool = True
    sha256: str | None = field(default=None, compare=False)  # of the image's file; "": that could not be read

    def to_dict(self, top: int | None = 5) -> dict[str, Any]:
        """Return the error record; `top` is unused, so that results can be called alike."""
        record: dict[str, Any] = {"id": self.id, "error": {"kind": self.kind, "message": self.message}}
        if self.sha256 is not None:
            record["sha256"] = self.sha256
        if self.settings:
            record["settings"] = dict(self.settings)
        return record


def answer(label: str, probability: float, least: float | None) -> str:
    """Return the label, or "unsure" if its probability is below the least."""
    return UNSURE if least is not None and probability < least else label


def with_answer(record: Mapping[str, Any], least: float | None) -> dict[str, Any]:
    """Return a record with the answer that another least probability gives."""
    if "answer" not in record or not is_number(record.get("probability"), 0):
        return dict(record)
    settings = {name: value for name, value in record.get("settings", {}).items() if name != "min_probability"}
    settings |= {} if least is None else {"min_probability": least}
    return {**record, "answer": answer(record["label"], record["probability"], least), "settings": settings}


def check_min_probability(least: float | None, labels: Sequence[str] = ()) -> None:
    """Refuse a least probability that is none, and a label that could be taken for the answer below it."""
    if least is None:
        return
    if not 0 < least <= 1:
        raise UsageError(f"--min-probability {least:g}", "must be above 0 and at most 1", "0.9 answers only when sure.")
    if UNSURE in labels:
        hint = "Give the label another name."
        raise UsageError(f"--min-probability with the label {UNSURE!r}", "that is the answer below it", hint)


def significant(value: float | None, digits: int = 9) -> float | None:
    """Round to significant digits, so that records are readable; float32 has seven."""
    return None if value is None else float(f"{value:.{digits}g}")
