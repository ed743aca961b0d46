"""What a training tells of itself while it goes on. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resumed:
    """A checkpoint was taken up: so many pictures had been shown."""

    images: int


@dataclass(frozen=True)
class Report:
    """Where a training stands."""

    images: int
    error: float
    contrast: float
    rate: float
    pace: float  # pictures a second, of late
    left: float  # seconds


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written, and a picture of what the model draws."""

    images: int
    grid: str


@dataclass(frozen=True)
class Examined:
    """So many of the held-out pictures have been classified."""

    done: int
    count: int


@dataclass(frozen=True)
class Done:
    """The training is over."""

    folder: str
    seconds: float
    accuracy: str | None
