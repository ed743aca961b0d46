"""Which labels of an image are asked: all of them, those that a shortlist names, or those that a tree's search finds.

In: the losses of the labels asked so far, on an image's first draws; out: the labels to ask next on the same draws,
none once the race may begin. Must not know networks, nor how a shortlist came about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bigain_cli.classification.confidence import GapRules, asymptotic_half_widths
from bigain_cli.shortlist.label_tree import Branch

Table = NDArray[np.float64]  # [draws labels], NaN where a label was not asked

BEAM = 14  # branches that are kept at least


class LabelSearch(Protocol):
    """Chooses labels for one image, round by round."""

    def first(self) -> list[int]:
        """Return the labels to ask first."""

    def by_importance(self, labels: Sequence[int]) -> list[int]:
        """Return the labels of a round in the order in which a budget that has no room for all of them takes them."""

    def next(self, losses: Table, rules: GapRules) -> list[int]:
        """Return the labels to ask next; none: the race may begin."""

    def outside(self, weights: NDArray[np.float64]) -> float:
        """Return the weight of all labels that were not asked, from those of the asked ones (NaN elsewhere)."""


@dataclass(frozen=True)
class NamedLabels:
    """Labels that are known beforehand; `left_out` is the probability that it is another one.

    `shares` are the probabilities of the labels that were chosen by them; the others among `labels` are always asked.
    """

    labels: Sequence[int]
    left_out: float = 0.0
    shares: Mapping[int, float] = field(default_factory=dict)

    def first(self) -> list[int]:
        """Return all of them."""
        return list(self.labels)

    def by_importance(self, labels: Sequence[int]) -> list[int]:
        """Return those first that are always asked, and then the most probable ones."""
        return sorted(labels, key=lambda label: -self.shares.get(label, math.inf))

    def next(self, losses: Table, rules: GapRules) -> list[int]:
        """Return none."""
        return []

    def outside(self, weights: NDArray[np.float64]) -> float:
        """Return a weight that gives all others, and those that a budget had no room for, their probability."""
        left_out = self.left_out + sum(share for label, share in self.shares.items() if np.isnan(weights[label]))
        return float(np.nansum(weights)) * left_out / max(1 - left_out, 1e-12)


class TreeSearch:
    """A beam search from the top of a tree of labels.

    A branch is as good as its labels that were asked, on average. At each level the best branches are kept, and so is
    any whose interval of the gap to the last of these includes zero; then their parts are judged. At the end all labels
    of the leaves that are left are asked.
    """

    def __init__(self, tree: Branch, always: Sequence[int] = (), beam: int = BEAM) -> None:
        self._always, self._beam = list(always), beam
        self._front, self._dropped = [tree], list[Branch]()
        self._at_leaves = False
        while len(self._front) <= beam and any(branch.parts for branch in self._front):
            self._front = _parts_of(self._front)

    def first(self) -> list[int]:
        """Return the labels by which the first branches are judged."""
        asked = [label for branch in self._front for label in branch.typical]
        return [*dict.fromkeys(asked), *self._always]

    def by_importance(self, labels: Sequence[int]) -> list[int]:
        """Return those first that are always asked."""
        return sorted(labels, key=lambda label: label not in self._always)

    def next(self, losses: Table, rules: GapRules) -> list[int]:
        """Keep the best branches; return the labels by which their parts are judged, at the end those of the leaves."""
        asked: NDArray[np.bool_] = np.logical_not(np.isnan(losses[0]))
        while not self._at_leaves:
            self._keep_best(losses, rules, asked)
            self._at_leaves = not any(branch.parts for branch in self._front)
            if self._at_leaves:
                return [label for branch in self._front for label in branch.labels if not asked[label]]
            self._front = _parts_of(self._front)
            typical = dict.fromkeys(label for branch in self._front for label in branch.typical)
            if fresh := [label for label in typical if not asked[label]]:
                return fresh
        return []

    def outside(self, weights: NDArray[np.float64]) -> float:
        """Let every label that was not asked weigh as much as those of its branch that were asked, on average."""
        total = 0.0
        for branch in (*self._dropped, *self._front):
            inside = weights[list(branch.labels)]
            missing = np.isnan(inside)
            if missing.any():
                total += float(np.nanmean(weights if missing.all() else inside)) * int(missing.sum())
        return total

    def _keep_best(self, losses: Table, rules: GapRules, asked: NDArray[np.bool_]) -> None:
        """Drop the branches that are significantly worse than the last one to keep."""
        if len(self._front) <= self._beam:
            return
        inside = [[label for label in branch.labels if asked[label]] for branch in self._front]
        of_branches = np.stack([losses[:, labels].mean(axis=1) for labels in inside], axis=1)  # [draws branches]
        means = of_branches.mean(axis=0)
        order = np.argsort(means, kind="stable")
        last = int(order[self._beam - 1])
        differences = of_branches - of_branches[:, [last]]
        kept = ~(means - means[last] > _half_widths(differences, rules))
        kept[order[: self._beam]] = True
        self._dropped += [self._front[number] for number in np.flatnonzero(~kept)]
        self._front = [self._front[number] for number in order if kept[number]]


def _half_widths(differences: Table, rules: GapRules) -> NDArray[np.float64]:
    """Return half the width of each branch's interval, one by one; infinite after a single draw."""
    draws, branches = differences.shape
    if draws < 2:
        return np.full(branches, np.inf)
    return asymptotic_half_widths(differences, rules.times_of(draws), 1 - rules.level, branches - 1)


def _parts_of(branches: Sequence[Branch]) -> list[Branch]:
    """Return the parts of branches; leaves stay."""
    return [part for branch in branches for part in branch.parts or (branch,)]
