"""What a shortlist is asked for: off, or a tree of the labels.

In: the text of an option; out: a choice, checked. Must not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from bigain_cli.errors import UsageError, check_known

OFF, TREE = "off", "tree"


@dataclass(frozen=True)
class ShortlistChoice:
    """`kind` is None where nothing is chosen."""

    kind: str | None = None
    tree: str | None = None  # the name of a file, or of a tree that comes with the package


def read_choice(text: str | None, tree: str | None = None) -> ShortlistChoice:
    """Read `off` or `tree`; a tree of one's own needs no more than its name."""
    if tree is not None and text not in (None, TREE):
        raise UsageError(f"--tree {tree}", f"is not about --shortlist {text}", "Leave out one of them.")
    if tree is not None:
        return ShortlistChoice(TREE, tree)
    if text is not None:
        check_known("--shortlist", text, (OFF, TREE))
    return ShortlistChoice(text)
