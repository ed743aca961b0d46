"""What `--shortlist` chooses: no shortlist, a tree of the labels, or what a model names.

In: the choice, a backbone, and its labels; out: a `Shortlist`, which starts a search for each image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bigain_cli.backbones.base import Backbone, Conditions
from bigain_cli.classification.label_prompts import LabelPrompts
from bigain_cli.classification.label_search import LabelSearch, NamedLabels, TreeSearch
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.images.sources import Found
from bigain_cli.shortlist.choice import OFF, TREE, ShortlistChoice, is_automatic
from bigain_cli.shortlist.label_tree import Branch, digest_of, tree_of_groups, tree_of_vectors
from bigain_cli.shortlist.tree_files import read_groups


class Shortlist(Protocol):
    """Says for each image which labels are asked."""

    @property
    def name(self) -> str:
        """The choice, for the settings; empty: all labels are asked."""

    @property
    def identity(self) -> str:
        """What else the labels asked depend on."""

    def search(self, digest: bytes) -> LabelSearch:
        """Return the search for an image with this digest of its pixels."""

    def least(self) -> Sequence[int]:
        """Return as many labels as the first round has at least."""

    def prepare(self, sources: Iterator[Found]) -> Iterator[Found]:
        """Do what has to be done with images before any is classified; return them, to be read."""


@dataclass(frozen=True)
class AllLabels:
    """No shortlist."""

    labels: int
    name: str = ""
    identity: str = ""

    def search(self, digest: bytes) -> LabelSearch:
        """Ask all labels at once."""
        return NamedLabels(range(self.labels))

    def least(self) -> Sequence[int]:
        """Return all labels."""
        return range(self.labels)

    def prepare(self, sources: Iterator[Found]) -> Iterator[Found]:
        """Do nothing."""
        return sources


@dataclass(frozen=True)
class TreeShortlist:
    """A tree of the labels; `always` are those that are asked anyway."""

    tree: Branch
    identity: str
    always: tuple[int, ...] = ()
    name: str = TREE

    def search(self, digest: bytes) -> LabelSearch:
        """Start at the top of the tree."""
        return TreeSearch(self.tree, self.always)

    def least(self) -> Sequence[int]:
        """Return the labels of the first round."""
        return TreeSearch(self.tree, self.always).first()

    def prepare(self, sources: Iterator[Found]) -> Iterator[Found]:
        """Do nothing."""
        return sources


def tree_or_all(
    choice: ShortlistChoice,
    backbone: Backbone,
    competing: Sequence[LabelPrompts],
    conditions: Conditions,
    rules: StoppingRules,
    reject: bool,
) -> Shortlist:
    """Return a tree if it is chosen or the default, else no shortlist; `conditions` are of all prompts by label."""
    labels = competing[:-1] if reject else competing
    if choice.kind == OFF or (choice.kind is None and not is_automatic(len(labels), rules.schedule)):
        return AllLabels(len(competing))
    vectors, names = _vectors(backbone, conditions, labels), [label.name for label in labels]
    if choice.tree is not None:
        tree = tree_of_groups(read_groups(choice.tree, names), vectors, names)
    else:
        tree = tree_of_vectors(vectors, names)
    return TreeShortlist(tree, digest_of(tree, names), (len(labels),) if reject else ())


def _vectors(backbone: Backbone, conditions: Conditions, labels: Sequence[LabelPrompts]) -> NDArray[np.float64]:
    """Return a vector for each label: the mean of its prompts'."""  # [labels d]
    rows = np.asarray(backbone.vectors(conditions).numpy(), dtype=np.float64)
    ends = np.cumsum([len(label.texts) for label in labels])
    return np.stack([rows[end - len(label.texts) : end].mean(axis=0) for label, end in zip(labels, ends, strict=True)])
