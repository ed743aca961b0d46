"""When to stop with one image: the schedule, the confidence, and the limits of draws, evaluations and seconds.

Also what is measured until then: the score, the times and views that draws are taken from, and what errors are of.

Plain numbers, checked on construction. Must not know numpy or torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bigain_cli.classification.profiles import Profile
from bigain_cli.errors import UsageError, check_known
from bigain_cli.limits import check_confidence, check_counts
from bigain_cli.registry import BLOCK, DEFAULT_ERROR, DEFAULT_SCORE, ERRORS, SCHEDULES, SCORES, Score
from bigain_cli.views import read_views

RARE = 0.03  # what so few of the draws hold is seen before an answer is settled, unless the model was measured


@dataclass(frozen=True)
class StoppingRules:
    """When to drop a label and when to stop; `draws` counts per label, `budget` and `deadline` per image."""

    schedule: str = "race"
    confidence: float = 0.95
    draws: int | None = None
    budget: int | None = None
    deadline: float | None = None
    score: str | None = None  # by default the model's
    least_draws: int | None = None  # before an answer may be settled; by default the model's
    times: tuple[float, float] | None = None  # the share of the model's time that draws are taken from
    error_in: str = DEFAULT_ERROR  # what the errors are of
    profile: Profile | None = None  # how losses are judged, if that was tuned
    views: str | None = None  # of the image, of which each draw takes one; by default the model's

    def __post_init__(self) -> None:
        check_counts(draws=self.draws, budget=self.budget)
        check_known("--schedule", self.schedule, SCHEDULES, "unknown schedule")
        if self.score is not None:
            check_known("--score", self.score, SCORES, "unknown score")
        check_confidence(self.confidence)
        check_known("--error-in", self.error_in, ERRORS, "unknown")
        if self.views is not None:
            read_views(self.views)
        self._check_times()
        self._check_profile()
        fixed = SCHEDULES[self.schedule].draws if SCHEDULES[self.schedule].staged else None
        if fixed is not None and self.draws not in (None, fixed):
            why = f"the {self.schedule} schedule always takes {fixed} draws"
            raise UsageError(f"--draws {self.draws}", why, "Leave out --draws, or use --schedule fixed.")
        for name in ("draws", "budget"):
            _check_positive(f"--{name}", getattr(self, name), f"Leave out --{name} for no such limit.", least=1)
        _check_positive("--deadline", self.deadline, "Leave out --deadline for no such limit.")
        _check_positive("least_draws", self.least_draws, "Leave it out for the model's own.", least=1)

    def _check_times(self) -> None:
        """Refuse times that do not rise, and those that a schedule would not keep to."""
        if self.times is None:
            return
        low, high = self.times
        shown = f"--times {low:g}:{high:g}"
        if not 0 <= low < high <= 1:
            raise UsageError(shown, "must rise within 0 and 1", "Write --times 0.5:0.9, for example.")
        if SCHEDULES[self.schedule].staged:
            raise UsageError(shown, f"the {self.schedule} schedule has times of its own", "Leave out one of them.")

    def _check_profile(self) -> None:
        """Refuse other errors than those that a profile was tuned for."""
        if self.profile is None:
            return
        others = {"score": (None, self.profile.score), "times": (None,), "error_in": (DEFAULT_ERROR,)}
        for name, possible in others.items():
            if getattr(self, name) not in possible:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} with a profile", "it was tuned for other errors", "Leave out one of them.")

    def with_profile(self, profile: Profile) -> StoppingRules:
        """Return these rules with a profile, and its score."""
        return dataclasses.replace(self, profile=profile, score=self.score or profile.score)

    @property
    def most_draws(self) -> int:
        """The most draws of a label: the limit that is set, or the schedule's."""
        return self.draws or SCHEDULES[self.schedule].draws

    @property
    def bounded(self) -> bool:
        """Whether differences of the score are bounded, so that intervals hold at any number of draws."""
        return SCORES[self.score or DEFAULT_SCORE].bounded

    @property
    def least(self) -> int:
        """The draws before an answer may be settled: those set, or as many as show what 3 % of the draws hold."""
        if self.bounded:
            return 1
        return self.least_draws or BLOCK * math.ceil(math.log((1 - self.confidence) / 2) / math.log(1 - RARE) / BLOCK)

    def most_evaluations(self, prompts: Sequence[int], planned: bool) -> int:
        """Return the most evaluations of one image, from each label's prompts; a plan takes one more per draw."""
        most = self.most_draws * (sum(prompts) + planned)
        if stages := SCHEDULES[self.schedule].staged:
            most -= len(stages[1]) * sum(sorted(prompts)[:-5])
        return most if self.budget is None else min(most, self.budget)

    def check_budget(self, labels: int, evaluations: int) -> None:
        """Refuse a budget below one draw of all labels, which takes so many evaluations."""
        if self.budget is not None and self.budget < evaluations:
            why = f"one draw of all {labels} labels takes {evaluations} evaluations"
            raise UsageError(f"--budget {self.budget}", why, "Raise the budget or give fewer labels.")

    def for_model(self, score: str, draws: int | None = None, least_draws: int | None = None) -> StoppingRules:
        """Return these rules with the model's defaults: its score, its least draws, and its draws if they are fewer."""
        schedule = SCHEDULES[self.schedule]
        fewer = self.draws is None and draws is not None and not schedule.staged and draws < schedule.draws
        least_draws = self.least_draws or least_draws
        draws = draws if fewer else self.draws
        return dataclasses.replace(self, score=self.score or score, draws=draws, least_draws=least_draws)

    def to_dict(self) -> dict[str, Any]:
        """Return the rules for a record, without limits that are not set."""
        limits = {name: getattr(self, name) for name in ("budget", "deadline") if getattr(self, name) is not None}
        return {
            "schedule": self.schedule,
            "confidence": self.confidence,
            "max_draws": self.most_draws,
            "least_draws": self.least,
            "score": self.score,
            "interval": "finite-sample" if self.bounded else "asymptotic",
            **limits,
            **({"times": list(self.times)} if self.times is not None else {}),
            **({"error_in": self.error_in} if self.error_in != DEFAULT_ERROR else {}),
            **({"profile": self.profile.digest} if self.profile is not None else {}),
        }


def _check_positive(what: str, value: float | None, hint: str, least: float = 0) -> None:
    if value is not None and not (math.isfinite(value) and value > 0 and value >= least):
        raise UsageError(f"{what} {value:g}", "must be a positive number", hint)


def read_times(text: str | None) -> tuple[float, float] | None:
    """Read LOW:HIGH, two shares of the model's time."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError as problem:
        raise UsageError(f"--times {text}", "not LOW:HIGH", "Write --times 0.5:0.9, for example.") from problem
    return low, high


def mappable_score(name: str) -> Score:
    """Return a score whose errors can be mapped onto the image, or refuse it."""
    if not SCORES[name].weigh:
        why = "votes cannot be mapped onto the image: no pixels would add up to the gap"
        *others, last = (each for each, score in SCORES.items() if score.weigh)
        raise UsageError(f"maps of the score {name}", why, f"Use --score {', '.join(others)} or {last}.")
    return SCORES[name]
