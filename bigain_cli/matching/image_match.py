"""The result for one image: its captions, best first, with the evidence for each; and for a caption, its best image.

In: evidence; out: one record per image, ready for JSON. Must not know networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bigain_cli.classification.ranking import significant
from bigain_cli.intervals import Interval
from bigain_cli.matching.evidence import Evidence, ends, level_of_each, order_of, paired_interval, shared_fields


@dataclass(frozen=True)
class CaptionEvidence:
    """One caption, with the evidence for it against the empty prompt."""

    caption: str
    evidence: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a record's list of captions."""
        return {
            "caption": self.caption,
            "evidence": significant(self.evidence.value),
            "evidence_interval": ends(self.evidence),
        }


@dataclass(frozen=True)
class ImageMatch:
    """Every caption of one image, best first."""

    id: str
    captions: tuple[CaptionEvidence, ...]
    settled: bool  # whether more draws would hardly change which caption is first
    gap: Interval  # between the first two captions
    draws: int
    evaluations: int
    settings: dict[str, Any] = field(default_factory=dict)
    by_draw: Evidence | None = field(default=None, compare=False, repr=False)
    damage: str = ""
    sha256: str | None = field(default=None, compare=False)

    @property
    def caption(self) -> str:
        """The caption that fits best."""
        return self.captions[0].caption

    @property
    def fits(self) -> bool:
        """Whether the best caption is surely better than the empty prompt."""
        return self.captions[0].evidence.low > 0

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return {
            "id": self.id,
            "caption": self.caption,
            "settled": self.settled,
            "fits": self.fits,
            "gap": significant(self.gap.value),
            "gap_interval": ends(self.gap),
            "captions": [each.to_dict() for each in self.captions],
            "draws": self.draws,
            "evaluations": self.evaluations,
            **shared_fields(self.damage, self.sha256, self.settings),
        }


def match_of(id: str, evidence: Evidence, captions: Sequence[str], level: float, **more: Any) -> ImageMatch:
    """Rank an image's captions."""
    order = order_of(evidence.means, captions)
    each = level_of_each(level, len(captions) - 1)
    gaps = [evidence.gap(order[0], other, each) for other in order[1:]]
    found = tuple(CaptionEvidence(captions[number], evidence.interval(number, level)) for number in order)
    return ImageMatch(id, found, all(gap.low > 0 for gap in gaps), gaps[0], by_draw=evidence, **more)


@dataclass(frozen=True)
class BestImage:
    """The image that a caption fits best; the gap is to the next image, None if there is no other."""

    caption: str
    image: str
    evidence: Interval
    gap: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        gap = None if self.gap is None else significant(self.gap.value)
        return {
            "caption": self.caption,
            "image": self.image,
            "evidence": significant(self.evidence.value),
            "evidence_interval": ends(self.evidence),
            "gap": gap,
            "gap_interval": None if self.gap is None else ends(self.gap),
        }


def best_images(matches: Sequence[ImageMatch], captions: Sequence[str], level: float) -> list[BestImage]:
    """Return each caption's best image."""
    found = []
    for number, caption in enumerate(captions) if matches else ():
        tables = sorted(matches, key=lambda match: (-_evidence(match).means[number], match.id))
        first = _evidence(tables[0])
        gap = None
        if len(tables) > 1:
            ahead = first.by_draw[:, number] - _evidence(tables[1]).by_draw[:, number]
            gap = paired_interval(ahead, first.times, level_of_each(level, len(tables) - 1))
        found.append(BestImage(caption, tables[0].id, first.interval(number, level), gap))
    return found


def _evidence(match: ImageMatch) -> Evidence:
    assert match.by_draw is not None
    return match.by_draw
