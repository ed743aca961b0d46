"""A ladder of compressions: all labels cheaply first, then the finalists once more, less compressed.

"lgtm:0.7,none" has two rungs. Errors of different rungs are never pooled: each rung judges by its own draws alone.
Must not know datasets.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from PIL.Image import Image

from bigain_cli.classifier import Run
from bigain_cli.compress import Spec
from bigain_cli.evaluation.specs import LEAST, MOST, check_budget, shared_out
from bigain_cli.images import Source
from bigain_cli.labels import LabelSet
from bigain_cli.ranking import Failure, Ranking
from bigain_cli.rules import Rules

KEPT_RUNS = 64

Entry = Source | tuple[str, Image]
MakeRun = Callable[[LabelSet, Spec, Rules], Run]


@dataclass(frozen=True)
class Answer:
    """What came out for a picture, and what it took in 10⁹ operations; 0 where there is no network."""

    result: Ranking | Failure
    gflop: float = 0.0


class Answering(Protocol):
    """What answers pictures under a spec or a ladder of specs."""

    @property
    def settings(self) -> dict[str, Any]:
        """Return what a record says."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return where less happens than the spec asks for."""

    def answers(self, entries: Iterable[Entry]) -> Iterator[Answer]:
        """Yield an answer for each picture, in order."""


@dataclass(frozen=True)
class Single:
    """One spec."""

    run: Run

    @property
    def settings(self) -> dict[str, Any]:
        """Return what a record says."""
        return self.run.settings

    @property
    def notes(self) -> tuple[str, ...]:
        """Return where less happens than the spec asks for."""
        return notes_of(self.run)

    def answers(self, entries: Iterable[Entry]) -> Iterator[Answer]:
        """Answer each picture."""
        return (Answer(result, spent(self.run, result)) for result in self.run.standings(entries) if result.finished)


class Ladder:
    """Two specs, the second for the finalists of the first."""

    def __init__(self, make: MakeRun, labels: LabelSet, rungs: tuple[Spec, ...], rules: Rules) -> None:
        first, last = shared_out(rules)
        if rules.budget is not None:
            check_budget(rules, make(labels, rungs[0], replace(first, budget=None)).evaluations_a_draw)
        self._labels, self._first = labels, make(labels, rungs[0], first)
        self._last = lru_cache(KEPT_RUNS)(lambda names: make(self._only(names), rungs[1], last))
        whole = self._last(tuple(label.name for label in labels.labels))
        both = [self._first.settings, whole.settings]
        mark = hashlib.blake2b(" ".join(each["fingerprint"] for each in both).encode(), digest_size=8).hexdigest()
        name = ",".join(each["compress"] for each in both)
        own = {"compress": name, "confidence": rules.confidence, "fingerprint": mark}
        self.settings = {**whole.settings, **own}
        self.notes = tuple(dict.fromkeys((*notes_of(self._first), *notes_of(whole))))

    def answers(self, entries: Iterable[Entry]) -> Iterator[Answer]:
        """Answer each picture."""
        kept = list(entries)
        first = [result for result in self._first.standings(kept) if result.finished]
        found: dict[int, Answer] = {}
        alike: dict[tuple[str, ...], dict[int, Ranking]] = defaultdict(dict)  # who has the same finalists, by place
        for place, result in enumerate(first):
            if isinstance(result, Failure):
                found[place] = Answer(replace(result, settings=self.settings))
            else:
                alike[finalists(result)][place] = result
        for names, group in alike.items():
            run = self._last(names)
            last = (result for result in run.standings([kept[place] for place in group]) if result.finished)
            for (place, before), result in zip(group.items(), last, strict=True):
                found[place] = self._settled(before, result, run)
        yield from (found[place] for place in range(len(kept)))

    def _settled(self, first: Ranking, last: Ranking | Failure, run: Run) -> Answer:
        if isinstance(last, Failure):
            return Answer(replace(last, settings=self.settings))
        return Answer(joined(first, last, self.settings), spent(self._first, first) + spent(run, last))

    def _only(self, names: tuple[str, ...]) -> LabelSet:
        chosen = tuple(label for label in self._labels.labels if label.name in names)
        return LabelSet(chosen, self._labels.origin)


def notes_of(run: Run) -> tuple[str, ...]:
    """Return where less happens than a run's spec asks for."""
    return run.report.notes if run.report is not None else ()


def spent(run: Run, result: Ranking | Failure) -> float:
    """Return what a picture took in 10⁹ operations."""
    return run.gflop * result.evaluations if isinstance(result, Ranking) else 0.0


def finalists(first: Ranking) -> tuple[str, ...]:
    """Return who may still win: those that the draws could not tell from the leader, but neither one nor all."""
    others = [place.label for place in first.standings if not place.alive]
    return tuple(sorted([*first.contenders, *others][: min(max(len(first.contenders), LEAST), MOST)]))


def joined(first: Ranking, last: Ranking, settings: dict[str, Any]) -> Ranking:
    """Put who fell on the first rung behind the finalists, without a chance, and without a gap to the winner.

    Who fell for want of room, and not for being worse, leaves the answer undecided. Draws are those of both rungs.
    """
    names = {place.label for place in last.standings}
    fallen = tuple(
        replace(place, probability=0.0, alive=False, behind=math.nan, radius=None)
        for place in first.standings
        if place.label not in names
    )
    return replace(
        last,
        standings=last.standings + fallen,
        decided=last.decided and set(first.contenders) <= names,
        draws=first.draws + last.draws,
        evaluations=first.evaluations + last.evaluations,
        settings=settings,
    )
