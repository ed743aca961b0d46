"""What the shell offers for the values of options: names from the registries, and paths where an option takes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bigain_cli.compress.operators import OPERATORS
from bigain_cli.generation.samplers import SAMPLERS
from bigain_cli.labels import presets
from bigain_cli.labels.label_sets import SUFFIXES
from bigain_cli.matching.options import UNBOUNDED
from bigain_cli.registry import MODELS, SCHEDULES, SCORES

Offer = tuple[str, str]  # a value, and what it is
EXAMPLES = {"ratio": "0.5", "factor": "2"}  # of an operator's number


def _of(table: Mapping[str, Any]) -> Callable[[str], list[Offer]]:
    """Return the function that offers the names of a table, with their descriptions."""

    def offer(incomplete: str) -> list[Offer]:
        return [(name, line.about) for name, line in table.items() if name.startswith(incomplete)]

    return offer


schedules, scores, samplers, _models = _of(SCHEDULES), _of(SCORES), _of(SAMPLERS), _of(MODELS)
match_scores = _of({name: SCORES[name] for name in UNBOUNDED})


def models(incomplete: str) -> list[Offer]:
    """Offer the known models, folders and .safetensors files."""
    return [*_models(incomplete), *_paths(incomplete, (".safetensors",))]


def labels(incomplete: str) -> list[Offer]:
    """Offer the presets and label files."""
    known = [(name, "preset") for name in presets() if name.startswith(incomplete)]
    return [*known, *_paths(incomplete, SUFFIXES)]


def specs(incomplete: str) -> list[Offer]:
    """Offer the operators with a usual number, also after a plus."""
    before, plus, term = incomplete.rpartition("+")
    found = [(f"{name}:{EXAMPLES[line.amount]}", line.about) for name, line in OPERATORS.items()]
    found += [] if plus else [("none", "no compression")]
    return [(before + plus + name, about) for name, about in found if name.startswith(term)]


def _paths(incomplete: str, suffixes: tuple[str, ...]) -> Iterator[Offer]:
    """Yield the folders, and the files with these suffixes, whose paths begin so; hidden ones if a dot is typed."""
    folder, name = os.path.split(incomplete)
    try:
        entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
            path = os.path.join(folder, entry.name)
            if entry.is_dir():
                yield f"{path}{os.sep}", "folder"
            elif entry.name.lower().endswith(suffixes):
                yield path, "file"
