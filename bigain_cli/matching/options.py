"""The options of `match`, checked before a model is loaded. Must not import torch."""

from __future__ import annotations

from dataclasses import dataclass

from bigain_cli.compress import Spec
from bigain_cli.errors import UsageError, check_known
from bigain_cli.labels import LabelSet
from bigain_cli.limits import check_confidence, check_counts
from bigain_cli.registry import DEFAULT_SCORE, SCORES

DRAWS = 64  # for each caption
UNBOUNDED = tuple(name for name, score in SCORES.items() if not score.bounded)
AS_IT_IS = "{}"  # the template of a caption


@dataclass(frozen=True)
class MatchOptions:
    """How captions are compared; `draws` counts per caption, `score` is by default the model's."""

    draws: int = DRAWS
    confidence: float = 0.95
    score: str | None = None
    seed: int = 0
    templates: tuple[str, ...] = ()
    compress: str | Spec | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        check_counts(draws=self.draws, seed=self.seed, batch=self.batch)
        if self.draws < 1:
            raise UsageError(f"--draws {self.draws}", "must be a positive number", f"{DRAWS} are usual.")
        check_confidence(self.confidence)
        self.score_of(DEFAULT_SCORE)

    def score_of(self, of_model: str) -> str:
        """Return the score; refuse one that compares the captions of one image only."""
        chosen = self.score or of_model
        check_known("--score", chosen, SCORES, "unknown score")
        if SCORES[chosen].bounded:
            why = "its votes are among one image's captions, and say nothing about other images"
            raise UsageError(f"--score {chosen}", why, f"Use {', '.join(UNBOUNDED[:-1])} or {UNBOUNDED[-1]}.")
        return chosen


def check_captions(captions: LabelSet) -> None:
    """Refuse fewer captions than can be compared."""
    if len(captions.labels) < 2:
        raise UsageError(captions.origin, "one caption cannot be compared", "Give at least two.")
