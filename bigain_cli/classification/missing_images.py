"""A run in which no image is there: every one fails for its own reason, and no model is loaded for it. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigain_cli.classification.label_prompts import LabelPrompts
from bigain_cli.classification.ranking import Failure
from bigain_cli.images import Source


@dataclass(frozen=True)
class MissingImages:
    """Takes the place of a `Classification`; its records have no settings, because no model took part."""

    competing: Sequence[LabelPrompts]
    settings: dict[str, Any] = field(default_factory=lambda: {"fingerprint": ""})
    most_evaluations: int = 0
    machine: str = ""

    def rankings(self, sources: Iterable[Source]) -> Iterator[Failure]:
        """Yield a failure for each source."""
        for source in sources:
            if source.error is not None:
                yield Failure(source.id, source.error.kind, str(source.error))
