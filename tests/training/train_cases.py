"""Toy trainings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigain_cli.training.image_tensors import LabelledImages
    from bigain_cli.training.job import TrainingJob
    from bigain_cli.training.recipe import Recipe
    from bigain_cli.training.training_loop import Training

CLASSES = ("bird", "ship", "truck")
WIDTHS = {"unet": 8, "dit": 16}


def toy(count: int = 24, seed: int = 0, size: int = 16, classes: tuple[str, ...] = CLASSES) -> LabelledImages:
    """Make noise with labels in turn."""
    import torch

    from bigain_cli.training.image_tensors import LabelledImages

    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    return LabelledImages(pixels, torch.arange(count) % len(classes), classes)


def recipe(arch: str = "unet", **changes: Any) -> Recipe:
    """Make a recipe of a few milliseconds a step."""
    from bigain_cli.training.recipe import Recipe

    plain = {"size": 16, "width": WIDTHS.get(arch, 16), "depth": 2, "images": 24, "batch": 4, "warmup": 8}
    return Recipe(**{"arch": arch, "contrast": 0.1, **plain, **changes})


def training(wanted: Recipe, images: LabelledImages | None = None) -> Training:
    """Make a training that has not begun."""
    import torch

    from bigain_cli.training.networks import make_noise_schedule, make_trainable
    from bigain_cli.training.training_loop import Training

    device = torch.device("cpu")
    images = images or toy()
    trainable = make_trainable(wanted, vocabulary(images.classes))
    return Training(wanted, trainable, make_noise_schedule(device), images, device, {"classes": list(images.classes)})


def vocabulary(classes: tuple[str, ...] = CLASSES, synonyms: Any = None, templates: Any = None) -> Any:
    """Make the language of some classes."""
    from bigain_cli.training.recipe import TEMPLATES
    from bigain_cli.training.tokenizer import make_vocabulary

    return make_vocabulary(classes, synonyms or {}, templates or TEMPLATES)


def job(folder: Path | str, arch: str = "unet", **changes: Any) -> TrainingJob:
    """Make a job without previews."""
    from bigain_cli.training.job import TrainingJob

    plain = {"recipe": recipe(arch), "images": toy(), "held_out": None, "device": "cpu", "every": 12}
    return TrainingJob(**{"folder": folder, "previews": False, **plain, **changes})
