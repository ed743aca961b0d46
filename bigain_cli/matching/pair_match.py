"""Text, image and group score of a pair, as Winoground defines them, and their shares of all pairs.

Text: each image has more evidence for its own caption. Image: each caption has more evidence from its own image. Group:
both. Ties count as wrong. In: the evidence of two images for two captions; out: records. Must not know networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bigain_cli.classification.ranking import significant
from bigain_cli.intervals import Interval, wilson
from bigain_cli.matching.evidence import Evidence, ends, level_of_each, paired_interval

SCORES = {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6}  # with the share that is right by chance
GAPS = ("text_0", "text_1", "image_0", "image_1")


@dataclass(frozen=True)
class PairMatch:
    """One pair: the evidence of each image for each caption, and how far what belongs together is ahead."""

    id: str
    images: tuple[str, str]
    captions: tuple[str, str]
    evidence: tuple[tuple[float, float], tuple[float, float]]  # of each image, for each caption
    gaps: tuple[Interval, Interval, Interval, Interval]  # text of both images, image of both captions
    draws: int
    evaluations: int
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> bool:
        """Whether each image has more evidence for its own caption."""
        return self.gaps[0].value > 0 and self.gaps[1].value > 0

    @property
    def image(self) -> bool:
        """Whether each caption has more evidence from its own image."""
        return self.gaps[2].value > 0 and self.gaps[3].value > 0

    @property
    def group(self) -> bool:
        """Whether both are so."""
        return self.text and self.image

    @property
    def settled(self) -> bool:
        """Whether more draws would hardly change any of the three scores: no gap's interval has both signs."""
        return all(gap.low > 0 or gap.high < 0 for gap in self.gaps)

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return {
            "id": self.id,
            **{name: getattr(self, name) for name in SCORES},
            "settled": self.settled,
            "images": list(self.images),
            "captions": list(self.captions),
            "evidence": [[significant(value) for value in row] for row in self.evidence],
            "gaps": {name: significant(gap.value) for name, gap in zip(GAPS, self.gaps, strict=True)},
            "gap_intervals": {name: ends(gap) for name, gap in zip(GAPS, self.gaps, strict=True)},
            "draws": self.draws,
            "evaluations": self.evaluations,
            "settings": dict(self.settings),
        }


def pair_match(
    id: str, images: Sequence[str], captions: Sequence[str], found: Sequence[Evidence], level: float, **more: Any
) -> PairMatch:
    """Compare two images' evidence for two captions."""
    first, second = found
    each = level_of_each(level, len(GAPS))
    between = [(first.by_draw[:, number] - second.by_draw[:, number]) * sign for number, sign in ((0, 1), (1, -1))]
    gaps = (
        first.gap(0, 1, each),
        second.gap(1, 0, each),
        paired_interval(between[0], first.times, each),
        paired_interval(between[1], first.times, each),
    )
    rows = [(float(part.means[0]), float(part.means[1])) for part in found]
    names, texts = (images[0], images[1]), (captions[0], captions[1])
    return PairMatch(id, names, texts, (rows[0], rows[1]), gaps, **more)


@dataclass(frozen=True)
class PairSummary:
    """The shares of pairs that are right, and of those that are settled."""

    pairs: int
    settled: int
    scores: dict[str, Interval]

    @staticmethod
    def of(matches: Sequence[PairMatch]) -> PairSummary | None:
        """Sum up; None if there is no pair."""
        count = len(matches)
        if not count:
            return None
        shares = {name: wilson(sum(getattr(each, name) for each in matches) / count, count) for name in SCORES}
        return PairSummary(count, sum(each.settled for each in matches), shares)

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        scores = {name: {**found.to_dict(), "by_chance": SCORES[name]} for name, found in self.scores.items()}
        return {"pairs": self.pairs, "settled": self.settled, **scores}
