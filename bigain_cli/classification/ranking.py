"""The answer for one image: labels in order with score, margin, interval, probability and cost.

In come plain numbers; out goes one flat, JSON-ready dict per image. Must not know torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image


@dataclass(frozen=True)
class EvidenceMap:
    """What speaks for the winner and against another label; the map's sum is the gap between the two."""

    against: str | None  # None: the empty prompt
    gap: float
    draws: int  # those that both labels took part in
    map: NDArray  # [h w] float64, positive where the image speaks for the winner
    remainder: float = 0.0  # what belongs to no place (scores that do not add up), spread evenly over the map


@dataclass(frozen=True)
class ImageEvidence:
    """One image as the model sees it, and the maps of its first comparisons, if they were requested."""

    image: Image
    maps: tuple[EvidenceMap, ...] = ()


@dataclass(frozen=True)
class RankedLabel:
    """One label's place: its score (higher is better) over the draws it took part in."""

    label: str
    probability: float
    score: float
    draws: int
    alive: bool = True
    behind: float = 0.0  # the mean paired difference to the leader, over the draws that both took part in
    error: float = 0.0  # the standard error of that
    radius: float | None = None  # half the width of its interval; None if there are too few draws

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
    """Every label of one image, best first, after `draws` shared draws."""

    id: str
    ranked: tuple[RankedLabel, ...]
    decided: bool
    gap: float | None
    gap_interval: tuple[float, float] | None
    draws: int
    evaluations: int
    finished: bool = True
    seconds: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    evidence: ImageEvidence | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        verdict = "decided" if self.decided else f"undecided among {len(self.contenders)} labels"
        effort = f"{self.draws} draw{'' if self.draws == 1 else 's'}{'' if self.finished else ' so far'}"
        return f"<Ranking {self.label!r} {self.probability:.3g}, {verdict}, {effort}, {self.id!r}>"

    @property
    def label(self) -> str:
        """The label in the lead."""
        return self.ranked[0].label

    @property
    def probability(self) -> float:
        """The leader's probability; all labels' sum to one."""
        return self.ranked[0].probability

    @property
    def runner_up(self) -> str | None:
        """The second label, if there is one."""
        return self.ranked[1].label if len(self.ranked) > 1 else None

    @property
    def contenders(self) -> tuple[str, ...]:
        """The labels that the draws could not tell apart from the leader, the leader included."""
        return tuple(standing.label for standing in self.ranked if standing.alive)

    def to_dict(self, top: int | None = 5) -> dict[str, Any]:
        """Return the record with at most `top` labels (None: all)."""
        record: dict[str, Any] = {
            "id": self.id,
            "label": self.label,
            "decided": self.decided,
            "probability": significant(self.probability),
            "runner_up": self.runner_up,
            "gap": significant(self.gap),
            "gap_interval": None if self.gap_interval is None else [significant(end) for end in self.gap_interval],
        }
        if not self.decided:
            record["contenders"] = list(self.contenders)
        record["top"] = [standing.to_dict() for standing in self.ranked[:top]]
        record["draws"] = self.draws
        record["evaluations"] = self.evaluations
        if self.seconds is not None:
            record["seconds"] = round(self.seconds, 3)
        record["settings"] = dict(self.settings)
        return record


@dataclass(frozen=True)
class Failure:
    """An image that gave no answer, and why."""

    id: str
    kind: str
    message: str
    settings: dict[str, Any] = field(default_factory=dict)
    finished: bool = True

    def to_dict(self, top: int | None = 5) -> dict[str, Any]:
        """Return the error record; `top` is taken for the sake of a common call."""
        record: dict[str, Any] = {"id": self.id, "error": {"kind": self.kind, "message": self.message}}
        if self.settings:
            record["settings"] = dict(self.settings)
        return record


def significant(value: float | None, digits: int = 9) -> float | None:
    """Round to a number of significant digits, so that records are readable; fp32 has seven."""
    return None if value is None else float(f"{value:.{digits}g}")
