"""Labelled images in memory: a folder of class folders, or a safetensors file; small, square, eight bits a channel.

What cannot be read is counted and left out. Must not know networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bigain_cli.datasets import open_image_folder
from bigain_cli.errors import InputError, UsageError
from bigain_cli.images import crop_and_resize, read

SEPARATE = 0x9E3779B97F4A7C15  # sets the split's random numbers apart from all others


@dataclass(frozen=True)
class LabelledImages:
    """Images of one size with their classes, and why others were left out."""

    pixels: Tensor  # [n 3 s s] uint8
    labels: Tensor  # [n] int64
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> LabelledImages:
        """Return some of them."""
        return LabelledImages(self.pixels[index], self.labels[index], self.classes)

    def named_as(self, classes: tuple[str, ...]) -> LabelledImages:
        """Return the same images, labelled by their classes' places among others; refuse a class that is not there."""
        unknown = [name for name in self.classes if name not in classes]
        if unknown:
            why = f"{unknown[0]!r} is no class of the training data"
            raise UsageError("--held-out", why, f"Its classes are: {', '.join(classes)}.")
        places = torch.tensor([classes.index(name) for name in self.classes])
        return LabelledImages(self.pixels, places[self.labels], classes, self.skipped)

    def image(self, number: int) -> Image.Image:
        """Return one of them."""
        return Image.fromarray(self.pixels[number].permute(1, 2, 0).numpy())


def load_images(path: str, size: int) -> LabelledImages:
    """Read a folder of class folders or a safetensors file."""
    album = open_image_folder(path)
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
        why = f"no readable image for class {album.classes[number]}{reasons.get(number, '')}"
        raise UsageError(path, why, "Remove the class or add images.")
    return LabelledImages(torch.stack(pixels), torch.tensor(labels), album.classes, tuple(skipped))


def split(images: LabelledImages, share: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Set a share of every class aside, at least one image of each, chosen by the seed."""
    generator = torch.Generator().manual_seed(((seed * 2 + 1) ^ SEPARATE) & (2**63 - 1))
    kept, aside = [], []
    for label in range(len(images.classes)):
        members = torch.nonzero(images.labels == label)[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        count = min(max(1, round(share * len(members))), len(members) - 1) if len(members) > 1 else 0
        aside.append(members[:count])
        kept.append(members[count:])
    return images.take(torch.cat(kept).sort().values), images.take(torch.cat(aside).sort().values)


def _small(image: Image.Image, size: int) -> Tensor:
    """Return the largest central square, resized."""  # [3 s s] uint8
    return torch.from_numpy(np.array(crop_and_resize(image, (size, size)))).permute(2, 0, 1).contiguous()
