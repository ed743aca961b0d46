"""Labelled images in memory: a folder of class folders or a safetensors file in, square uint8 tensors out.

Unreadable images are skipped and named. Must not know networks.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bigain_cli.datasets.folders import open_image_folder
from bigain_cli.errors import InputError, UsageError
from bigain_cli.images import Source, crop_and_resize, read


@dataclass(frozen=True)
class LabelledImages:
    """Images of one size with their labels, and the reason for each that was skipped."""

    pixels: Tensor  # [n 3 s s] uint8
    labels: Tensor  # [n] int64
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, index: Tensor) -> LabelledImages:
        """Return the images at these indices."""
        return LabelledImages(self.pixels[index], self.labels[index], self.classes)

    def relabelled(self, classes: tuple[str, ...]) -> LabelledImages:
        """Return the same images with labels that index these classes; refuse a class that is not among them."""
        unknown = [name for name in self.classes if name not in classes]
        if unknown:
            why = f"{unknown[0]!r} is no class of the training data"
            raise UsageError("--held-out", why, f"Its classes are: {', '.join(classes)}.")
        indices = torch.tensor([classes.index(name) for name in self.classes])
        return LabelledImages(self.pixels, indices[self.labels], classes, self.skipped)

    def image(self, number: int) -> Image.Image:
        """Return the image of this number."""
        return Image.fromarray(self.pixels[number].permute(1, 2, 0).numpy())

    def digest(self) -> str:
        """Identify the images by their content."""
        digest = hashlib.blake2b(digest_size=8)
        for tensor in (self.pixels, self.labels):
            digest.update(tensor.numpy().tobytes())
        digest.update("\n".join(self.classes).encode())
        return digest.hexdigest()


def load_images(path: str, size: int) -> LabelledImages:
    """Read a folder of class folders or a safetensors file."""
    folder = open_image_folder(path)
    pixels: list[Tensor] = []
    labels: list[int] = []
    skipped = list(folder.unlabelled)
    reasons: dict[int, str] = {}
    for case in folder.cases:
        source, (label,) = case.open(), case.truth
        assert isinstance(source, Source)  # a folder's images are not opened yet
        try:
            pixels.append(square(read(source), size))
            labels.append(label)
        except InputError as problem:
            skipped.append(str(problem))
            reasons[label] = f" ({problem})"
    for number in sorted(set(range(len(folder.classes))) - set(labels)):
        why = f"no readable image for class {folder.classes[number]}{reasons.get(number, '')}"
        raise UsageError(path, why, "Remove the class or add images.")
    return LabelledImages(torch.stack(pixels), torch.tensor(labels), folder.classes, tuple(skipped))


def split(images: LabelledImages, share: float) -> tuple[LabelledImages, LabelledImages]:
    """Hold out a share of every class, at least one image of each where not all are equal; return the rest and them.

    Their pixels alone choose them: so trainings that continue each other hold out the same images, whatever their seeds
    are and whatever images come to them, and of equal images of a class none is trained on while another is held out.
    """
    places = [hashlib.blake2b(image.numpy().tobytes(), digest_size=8).digest() for image in images.pixels]
    kept, held_out = list[int](), list[int]()
    for label in range(len(images.classes)):
        members = torch.nonzero(images.labels == label)[:, 0].tolist()
        members.sort(key=places.__getitem__)
        wanted = min(max(1, round(share * len(members))), len(members) - 1)
        groups = [list(group) for _, group in itertools.groupby(members, key=places.__getitem__)]  # of equal images
        fitting = sum(end <= wanted for end in itertools.accumulate(map(len, groups)))  # never between equal ones
        chosen = groups[:fitting] or ([min(groups, key=len)] if len(groups) > 1 else [])
        gone = {member for group in chosen for member in group}
        held_out += gone
        kept += [member for member in members if member not in gone]
    return images.subset(torch.tensor(sorted(kept))), images.subset(torch.tensor(sorted(held_out), dtype=torch.int64))


def square(image: Image.Image, size: int) -> Tensor:
    """Return the largest central square, resized."""  # [3 s s] uint8
    return torch.from_numpy(np.array(crop_and_resize(image, (size, size)))).permute(2, 0, 1).contiguous()
