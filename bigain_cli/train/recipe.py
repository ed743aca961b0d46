"""What a training is: everything that its weights depend on, the pictures aside. Torch-free."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bigain_cli.errors import UsageError, did_you_mean

ARCHITECTURES = {
    "unet": "a U-Net that is told sentences by a small text encoder; attention at three levels",
    "dit": "a transformer that is told class numbers",
}
PRECISIONS = ("float32", "bfloat16", "float16")
TEMPLATES = ("{}", "a {}", "a photo of a {}", "a photo of a {}.", "a picture of a {}", "an image of a {}")
WIDTHS = {"unet": 32, "dit": 96}
PATCHES = (1, 2, 4)
SHARE, EXAM = "0.1", 200  # of each class held out, and how many of all are classified at the end
SEEDS = 2**32 - 1  # the largest seed: others are made of it by counting up


@dataclass(frozen=True)
class Recipe:
    """How to train: the network's shape, how many pictures it sees, and the objective."""

    arch: str = "unet"
    size: int = 32  # pixels of a picture's side
    patch: int = 2  # pixels of a token's side
    width: int = 32  # channels of the widest grid, or of the transformer
    depth: int = 4  # blocks of a transformer; a U-Net has three levels
    images: int = 400_000  # pictures shown, repetitions counted
    batch: int = 64
    rate: float = 1e-3
    warmup: int = 6_400  # pictures until the full rate
    decay: float = 0.01
    ema: float = 0.999
    drop: float = 0.1  # share of pictures shown without their label
    contrast: float = 0.0  # weight of telling the right label from a wrong one
    sharpness: float = 30.0  # of that comparison: how many times the relative gap; too sharp, and gaps shrink
    contrast_from: float = 0.0  # share of the training that goes by before it
    tilt: float = 1.0  # times are drawn as u^tilt: above 1 more of them are at the clean end
    flip: bool = True
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for wrong, what, why, hint in self._problems():
            if wrong:
                raise UsageError(what, why, hint)

    @property
    def grid(self) -> int:
        """Return the tokens on a side of the widest grid."""
        return self.size // self.patch

    @property
    def steps(self) -> int:
        """Return how many times the weights change."""
        return math.ceil(self.images / self.batch)

    def shown(self, step: int) -> int:
        """Return how many of the pictures asked for a step has come to; the last batch may go beyond them."""
        return min(step * self.batch, self.images)

    def rate_at(self, step: int) -> float:
        """Return the learning rate: a linear start, then half a cosine down to nothing."""
        begin = min(1.0, (step + 1) * self.batch / self.warmup) if self.warmup else 1.0
        return self.rate * begin * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def ema_at(self, step: int) -> float:
        """Return how much of the average stays; at first it follows fast."""
        return min(self.ema, (1 + step) / (10 + step))

    def contrasts(self, step: int) -> bool:
        """Tell whether a step compares right labels with wrong ones."""
        return self.contrast > 0 and step >= self.contrast_from * self.steps

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe in plain values."""
        return dataclasses.asdict(self)

    def _problems(self) -> Iterator[tuple[bool, str, str, str]]:
        for name, known in (("arch", ARCHITECTURES), ("precision", PRECISIONS)):
            value = getattr(self, name)
            yield value not in known, f"--{name} {value}", "unknown", did_you_mean(value, known)
        yield self.patch not in PATCHES, f"--patch {self.patch}", "not supported", "Use 1, 2 or 4."
        multiple = self.patch * (4 if self.arch == "unet" else 1)
        uneven = self.size < 2 * multiple or self.size % multiple != 0
        yield uneven, f"--size {self.size}", f"must be a multiple of {multiple}, at least twice", "Try 32 or 64."
        unit = 16 if self.arch == "dit" else 8
        narrow = self.width < unit or self.width % unit != 0
        yield narrow, f"--width {self.width}", f"must be a multiple of {unit}", f"Try {WIDTHS.get(self.arch, 32)}."
        for name, least in (("depth", 1), ("images", 1), ("batch", 1), ("warmup", 0), ("seed", 0)):
            value = getattr(self, name)
            yield value < least, f"--{name} {value}", f"must be at least {least}", "Raise it."
        yield self.seed > SEEDS, f"--seed {self.seed}", f"must be at most {SEEDS}", "Lower it."
        most = f"more than the {self.images} pictures to be shown"
        yield self.batch > self.images, f"--batch {self.batch}", most, "Lower it, or raise --images."
        for name in ("rate", "sharpness", "tilt"):
            value = getattr(self, name)
            yield not (0 < value < math.inf), f"--{name} {value:g}", "must be a positive number", "Raise it."
        for name in ("decay", "contrast"):
            value = getattr(self, name)
            yield not (0 <= value < math.inf), f"--{name} {value:g}", "must not be negative", "0 switches it off."
        for name in ("ema", "drop", "contrast_from"):
            value = getattr(self, name)
            yield (
                not (0 <= value < 1),
                f"--{name.replace('_', '-')} {value:g}",
                "must be from 0 up to, but not including, 1",
                "Lower it.",
            )


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Name what two recipes do not share, each as `key old → new`."""
    keys = sorted(one.keys() | other.keys())
    return [f"{key} {one.get(key)} → {other.get(key)}" for key in keys if one.get(key) != other.get(key)]
