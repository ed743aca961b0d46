"""The specs of a comparison, parsed from text; contradictions are refused. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from bigain_cli.compress import Spec, parse
from bigain_cli.errors import UsageError


def parse_specs(texts: Sequence[str], against: str | None = None) -> list[Spec]:
    """Parse all specs; refuse one that is given twice, and a baseline that is not among them."""
    specs = [parse(text) for text in texts]
    for text, spec in zip(texts, specs, strict=True):
        if specs.count(spec) > 1:
            raise UsageError(f"-c {text}", f"{spec} is given twice", "Keep one of them.")
    if against is not None and specs:
        index_of_spec(against, specs, texts)
    return specs


def index_of_spec(text: str, specs: Sequence[Spec], names: Sequence[str]) -> int:
    """Return the index of the spec that a text names: the same spec, or the same once plans are shared by level."""
    wanted = parse(text)
    if wanted in specs:
        return specs.index(wanted)
    by_level = [spec.by_level() for spec in specs]
    if wanted.by_level() in by_level:
        return by_level.index(wanted.by_level())
    raise UsageError(f"--against {text}", "is not among the specs", f"Compared are {', '.join(names)}.")
