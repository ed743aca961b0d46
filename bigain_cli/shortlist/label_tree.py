"""Trees of labels: near ones under one branch, so that a whole branch can be judged by a few of its labels.

In: a vector for each label and, for a tree of people's own, nested groups; out: branches down to leaves of at most ten
labels. The same labels give the same tree, whatever their order. Must not know models or files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bigain_cli.shortlist.tree_files import Groups

Array = NDArray[np.float64]

LEAF = 10  # labels
SMALLEST_SIDE = 1 / 8  # of a split, as a share of its labels
DIGITS = 6  # of a projection: less than that is rounding


@dataclass(frozen=True)
class Branch:
    """Labels that belong together; `typical` are the ones to judge it by. A leaf has no parts."""

    labels: tuple[int, ...]
    typical: tuple[int, ...]
    parts: tuple[Branch, ...] = ()

    def walk(self) -> Iterator[Branch]:
        """Yield this branch and all below it."""
        yield self
        for part in self.parts:
            yield from part.walk()


def tree_of_vectors(vectors: Array, names: Sequence[str]) -> Branch:
    """Split labels in two along their principal direction, again and again, down to leaves."""  # [labels d]
    order = sorted(range(len(names)), key=lambda number: names[number])
    return _split(np.asarray(order), _Labels(_scaled(vectors), _ranks(order)))


def tree_of_groups(groups: Groups, vectors: Array, names: Sequence[str]) -> Branch:
    """Return the tree of nested groups; a group of more labels than a leaf may hold is split by their vectors."""
    order = sorted(range(len(names)), key=lambda number: names[number])
    return _of_groups(groups, _Labels(_scaled(vectors), _ranks(order)))


def digest_of(tree: Branch, names: Sequence[str]) -> str:
    """Return a digest of a tree's shape and names."""

    def text(branch: Branch) -> str:
        inside = map(text, branch.parts) if branch.parts else (repr(names[label]) for label in branch.labels)
        return f"({','.join(inside)};{','.join(repr(names[label]) for label in branch.typical)})"

    return hashlib.blake2b(text(tree).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(frozen=True)
class _Labels:
    vectors: Array  # [labels d]
    ranks: NDArray[np.int64]  # of each label's name, in the order of names

    def sorted(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return labels in the order of their names."""
        return labels[np.argsort(self.ranks[labels])]

    def typical(self, labels: NDArray[np.int64]) -> int:
        """Return the label that is nearest to the mean of all."""
        inside = self.vectors[labels]
        distances = np.square(inside - inside.mean(axis=0)).sum(axis=1)
        return int(labels[np.lexsort((self.ranks[labels], np.round(distances, DIGITS)))[0]])


def _scaled(vectors: Array) -> Array:
    """Return vectors of a common mean length of one, so that rounding means the same for all."""
    centred = np.asarray(vectors, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    length = float(np.sqrt(np.square(centred).sum(axis=1).mean()))
    return np.asarray(np.round(centred / length if length > 0 else centred, DIGITS))


def _ranks(order: Sequence[int]) -> NDArray[np.int64]:
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[list(order)] = np.arange(len(order))
    return ranks


def _split(labels: NDArray[np.int64], all_labels: _Labels) -> Branch:
    """Return the branch of some labels, which are in the order of their names."""
    if len(labels) <= LEAF:
        return _leaf(labels, all_labels)
    projection = _principal_projection(all_labels.vectors[labels])
    by_projection = labels[np.lexsort((all_labels.ranks[labels], projection))]
    at = _cut(np.sort(projection))
    sides = [all_labels.sorted(side) for side in (by_projection[:at], by_projection[at:])]
    sides.sort(key=lambda side: int(all_labels.ranks[side[0]]))
    return _joined(tuple(_split(side, all_labels) for side in sides), all_labels)


def _leaf(labels: NDArray[np.int64], all_labels: _Labels) -> Branch:
    """Return a leaf, which is judged by its most typical label and the one that is farthest from it."""
    first = all_labels.typical(labels)
    apart = np.square(all_labels.vectors[labels] - all_labels.vectors[first]).sum(axis=1)
    last = int(labels[np.lexsort((all_labels.ranks[labels], -np.round(apart, DIGITS)))[0]])
    return Branch(tuple(labels.tolist()), tuple(dict.fromkeys((first, last))))


def _joined(parts: tuple[Branch, ...], all_labels: _Labels) -> Branch:
    """Return a branch of parts, which is judged by the most typical label of each."""
    labels = all_labels.sorted(np.asarray([label for part in parts for label in part.labels]))
    return Branch(tuple(labels.tolist()), tuple(part.typical[0] for part in parts), parts)


def _principal_projection(vectors: Array) -> Array:
    """Return where vectors lie along the direction in which they differ most."""
    centred = vectors - vectors.mean(axis=0)
    if len(centred) <= centred.shape[1]:  # by the smaller of the two matrices of products
        values, directions = np.linalg.eigh(centred @ centred.T)
        projection = directions[:, -1] * np.sqrt(max(float(values[-1]), 0.0))
    else:
        projection = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
    first = np.flatnonzero(np.abs(projection) > 10.0**-DIGITS)
    sign = 1.0 if not len(first) or projection[first[0]] > 0 else -1.0
    return np.asarray(np.round(sign * projection, DIGITS))


def _cut(values: Array) -> int:
    """Return how many of these rising values go to the first side, so that both sides differ least within."""
    n = len(values)
    least = max(1, int(n * SMALLEST_SIDE))
    sizes = np.arange(1, n)
    sums = np.cumsum(values)[:-1]
    between = np.square(sums / sizes - (values.sum() - sums) / (n - sizes)) * sizes * (n - sizes)
    between = between[least - 1 : n - least]
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return least + int(best[np.argmin(np.abs(best + least - n / 2))])


def _of_groups(groups: Groups, all_labels: _Labels) -> Branch:
    if all(isinstance(each, int) for each in groups):
        return _split(all_labels.sorted(np.asarray(groups, dtype=np.int64)), all_labels)
    parts = tuple(_of_groups([each] if isinstance(each, int) else each, all_labels) for each in groups)
    return parts[0] if len(parts) == 1 else _joined(parts, all_labels)
