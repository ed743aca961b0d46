"""Trees of labels in JSON files: nested groups of names in, numbers of labels out. Must not know vectors.

A file has one object with "tree": an object of named groups, or an array of names and of groups. Names that are not
among the labels are skipped, so that one tree does for all choices of labels; a label that the tree lacks is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from bigain_cli.errors import UsageError, check_known
from bigain_cli.json_text import read_json
from bigain_cli.limits import read_text_file
from bigain_cli.shortlist.choice import read_choice

Groups: TypeAlias = "Sequence[int | Groups]"  # numbers of labels, in groups of groups

SHAPE = 'Write {"tree": {"animals": ["cat", "dog"], "things": ["cup"]}}; groups may hold groups.'
ENDING = ".tree.json"
DEEPEST = 100  # groups in each other


def read_groups(name: str, labels: Sequence[str]) -> Groups:
    """Return the groups of a file, or of a tree that comes with the package, with labels by their numbers."""
    path = Path(name) if os.path.isfile(name) else _shipped(name)
    try:
        document = read_json(read_text_file(str(path), name).decode("utf-8-sig"))
    except UnicodeDecodeError as problem:
        raise UsageError(f"--tree {name}", "not UTF-8 text", "Save it as UTF-8.") from problem
    except OSError as problem:
        raise UsageError(f"--tree {name}", problem.strerror or str(problem), "Check the path.") from problem
    except ValueError as problem:
        raise UsageError(f"--tree {name}", f"not valid JSON ({problem})", SHAPE) from problem
    if not isinstance(document, dict) or "tree" not in document:
        raise UsageError(f"--tree {name}", 'has no "tree"', SHAPE)
    numbers, found = {label: number for number, label in enumerate(labels)}, dict[str, None]()
    groups = _groups(name, document["tree"], numbers, found)
    missing = [label for label in labels if label not in found]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UsageError(f"--tree {name}", f"has no label {missing[0]!r}{more}", "Add it to one of its groups.")
    return groups


def digest_of_groups(name: str, labels: Sequence[str]) -> str:
    """Return a digest of what a file says about these labels."""
    text = json.dumps(read_groups(name, labels))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def check_choice(shortlist: str | None, tree: str | None) -> None:
    """Refuse a shortlist that there is not, and the name of a tree that is not there."""
    read_choice(shortlist, tree)
    if tree is not None and not os.path.isfile(tree):
        _shipped(tree)


def shipped_trees() -> dict[str, Path]:
    """Return the trees that come with the package, by the name of their label preset."""
    package = Path(__file__).parents[1]
    in_wheel, in_source_tree = package / "prompts", package.parent / "prompts"
    folder = in_wheel if in_wheel.is_dir() else in_source_tree
    return {path.name.removesuffix(ENDING): path for path in sorted(folder.glob(f"*{ENDING}"))}


def _shipped(name: str) -> Path:
    trees = shipped_trees()
    check_known("--tree", name, trees, "no such file")
    return trees[name]


def _groups(name: str, node: Any, numbers: Mapping[str, int], found: dict[str, None], depth: int = 0) -> list[Any]:
    """Return a group without the names and groups that are about no label; a name may be in one place."""
    if depth > DEEPEST:
        raise UsageError(f"--tree {name}", f"more than {DEEPEST} groups in each other", "Leave some of them out.")
    if isinstance(node, dict):
        node = list(node.values())
    if not isinstance(node, list):
        raise UsageError(f"--tree {name}", f"{str(node)[:40]!r} is neither a name nor a group", SHAPE)
    groups: list[Any] = []
    for each in node:
        if isinstance(each, str):
            if each in found:
                raise UsageError(f"--tree {name}", f"the label {each!r} is in it twice", "Keep one.")
            if each in numbers:
                found[each] = None
                groups.append(numbers[each])
        elif inside := _groups(name, each, numbers, found, depth + 1):
            groups.append(inside)
    return groups
