"""What a run will take: images a second from evaluations a second, and so its seconds. Plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bigain_cli.errors import UsageError
from bigain_cli.limits import is_number


@dataclass(frozen=True)
class CostModel:
    """A classification is nothing but evaluations: each image takes draws × prompts of them at most."""

    images: int
    evaluations: int  # of all images, at most
    pace: float  # evaluations a second of one worker
    workers: int

    def __post_init__(self) -> None:
        if not is_number(self.pace, 1e-6, 1e12):
            raise UsageError(
                f"--pace {self.pace:g}", "must be from 1e-6 to 1e12", "bigain bench measures evaluations a second."
            )

    @property
    def images_per_second(self) -> float:
        """How many images all workers do in a second, at least."""
        return self.images * self.pace * self.workers / self.evaluations if self.evaluations else 0.0

    @property
    def seconds(self) -> float:
        """How long the run takes, at most; loading the model is left out."""
        return self.evaluations / (self.pace * self.workers)

    def to_dict(self) -> dict[str, Any]:
        """Return it for programs."""
        given = {"evaluations_per_second": self.pace, "workers": self.workers}
        return {**given, "images_per_second_at_least": self.images_per_second, "seconds_at_most": self.seconds}
