"""What a shortlist is asked for: off, a tree of the labels, or a two-tower model and how many labels it keeps.

In: the text of an option; out: a choice, checked. Must not import torch.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from bigain_cli.errors import UsageError

OFF, TREE, MODEL = "off", "tree", "model"
KEPT = 20  # labels that a model keeps, if nothing is said
MOST = 2  # times as many, at most, where others are close behind
AUTOMATIC_FROM = 50  # labels
_EXAMPLE = "Write tree, off, or a CLIP or SigLIP model's hub id or folder, such as openai/clip-vit-base-patch32:20."


@dataclass(frozen=True)
class ShortlistChoice:
    """`kind` is None where nothing is chosen: then it depends on the number of labels."""

    kind: str | None = None
    tree: str | None = None  # the name of a file, or of a tree that comes with the package
    model: str = ""  # a hub id or a folder
    kept: int = KEPT

    @property
    def name(self) -> str:
        """Return the choice as text."""
        return f"{self.model}:{self.kept}" if self.kind == MODEL else self.kind or ""


def read_choice(text: str | None, tree: str | None = None) -> ShortlistChoice:
    """Read `off`, `tree`, or MODEL[:K]; a tree of one's own needs no more than its name."""
    if tree is not None and text not in (None, TREE):
        raise UsageError(f"--tree {tree}", f"is not about --shortlist {text}", "Leave out one of them.")
    if tree is not None or text == TREE:
        return ShortlistChoice(TREE, tree)
    if text is None or text == OFF:
        return ShortlistChoice(text)
    model, colon, count = text.rpartition(":")
    if not colon or not count.isdecimal():
        model, count = text, str(KEPT)
    if not _is_model(model):
        raise UsageError(f"--shortlist {text}", "neither tree, off, nor a model", _EXAMPLE)
    if not 2 <= int(count[:9]) <= 100_000:
        raise UsageError(f"--shortlist {text}", "keeps too few labels or too many", "Keep at least 2, 20 for instance.")
    return ShortlistChoice(MODEL, model=model, kept=int(count))


def is_automatic(labels: int, schedule: str) -> bool:
    """Return whether a tree is searched where nothing is chosen: for many labels, and if the race eliminates them."""
    return labels >= AUTOMATIC_FROM and schedule == "race"


def choice_for(text: str | None, tree: str | None, labels: int, schedule: str) -> ShortlistChoice:
    """Read what is chosen; where nothing is, return what so many labels get by themselves."""
    choice = read_choice(text, tree)
    return ShortlistChoice(TREE) if choice.kind is None and is_automatic(labels, schedule) else choice


def is_measured(shortlist: object, tree: str | None) -> bool:
    """Return whether an evaluation compares a shortlist with all labels: one that is chosen, not the default."""
    return tree is not None or shortlist not in (None, OFF)


def _is_model(name: str) -> bool:
    return os.path.isdir(os.path.expanduser(name)) or bool(re.fullmatch(r"[\w.-]+/[\w.-]+", name))
