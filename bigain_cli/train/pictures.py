"""Labelled pictures in memory: a folder of class folders, or a safetensors file; small, square, eight bits a channel.

What cannot be read is counted and left out. Must not know networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bigain_cli.albums import open_album
from bigain_cli.errors import InputError, UsageError
from bigain_cli.images import fitted, read

SEPARATE = 0x9E3779B97F4A7C15  # sets the split's random numbers apart from all others


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size with their classes, and why others were left out."""

    pixels: Tensor  # [n 3 s s] uint8
    labels: Tensor  # [n] int64
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Pictures:
        """Return some of them."""
        return Pictures(self.pixels[index], self.labels[index], self.classes)

    def named_as(self, classes: tuple[str, ...]) -> Pictures:
        """Return the same pictures, labelled by their classes' places among others; refuse a strange class."""
        strange = [name for name in self.classes if name not in classes]
        if strange:
            why = f"{strange[0]!r} is no class of the training data"
            raise UsageError("--held-out", why, f"Its classes are: {', '.join(classes)}.")
        places = torch.tensor([classes.index(name) for name in self.classes])
        return Pictures(self.pixels, places[self.labels], classes, self.skipped)

    def image(self, number: int) -> Image.Image:
        """Return one as a picture."""
        return Image.fromarray(self.pixels[number].permute(1, 2, 0).numpy())


def load_pictures(path: str, size: int) -> Pictures:
    """Read a folder of class folders or a safetensors file."""
    album = open_album(path)
    pixels: list[Tensor] = []
    labels: list[int] = []
    skipped = list(album.strays)
    reasons: dict[int, str] = {}
    for source, label in album.entries:
        try:
            pixels.append(_small(read(source), size))
            labels.append(label)
        except InputError as problem:
            skipped.append(str(problem))
            reasons[label] = f" ({problem})"
    for number in sorted(set(range(len(album.classes))) - set(labels)):
        why = f"no readable picture for class {album.classes[number]}{reasons.get(number, '')}"
        raise UsageError(path, why, "Remove the class or add pictures.")
    return Pictures(torch.stack(pixels), torch.tensor(labels), album.classes, tuple(skipped))


def split(pictures: Pictures, share: float, seed: int) -> tuple[Pictures, Pictures]:
    """Set a share of every class aside, at least one picture of each, drawn by the seed."""
    generator = torch.Generator().manual_seed(((seed * 2 + 1) ^ SEPARATE) & (2**63 - 1))
    kept, aside = [], []
    for label in range(len(pictures.classes)):
        members = torch.nonzero(pictures.labels == label)[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        count = min(max(1, round(share * len(members))), len(members) - 1) if len(members) > 1 else 0
        aside.append(members[:count])
        kept.append(members[count:])
    return pictures.take(torch.cat(kept).sort().values), pictures.take(torch.cat(aside).sort().values)


def _small(image: Image.Image, size: int) -> Tensor:
    """Return the largest central square, resized."""  # [3 s s] uint8
    return torch.from_numpy(np.array(fitted(image, (size, size)))).permute(2, 0, 1).contiguous()
