"""The datasets that are known by name, as KIND in KIND:DIR. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_OPENING = "bigain_cli.datasets.opening"
_TEST, _NO_TRAINING = {"split": "test"}, {"train": False}


@dataclass(frozen=True)
class DatasetInfo:
    """A known dataset; its labels are the preset of its name."""

    about: str
    opener: str = f"{_OPENING}:open_torchvision"
    torchvision: str = ""  # its class in torchvision.datasets
    options: Mapping[str, Any] = field(default_factory=dict)
    targets: str = "_labels"  # the attribute with the class number of each image
    names: str = "classes"  # the attribute with the class names
    fetched: bool = True  # whether it can be downloaded
    classes: int = 0
    needs: str = ""  # another package, which reads it


DATASETS = {
    "pets": DatasetInfo("Oxford-IIIT Pet, test", torchvision="OxfordIIITPet", options=_TEST),
    "imagenet": DatasetInfo(
        "ImageNet, validation: folders n01440764 …", f"{_OPENING}:open_wordnet", fetched=False, classes=1000
    ),
    "imagenet100": DatasetInfo(
        "a hundred classes of ImageNet: folders n01558993 …", f"{_OPENING}:open_wordnet", fetched=False, classes=100
    ),
    "cifar10": DatasetInfo("CIFAR-10, test", torchvision="CIFAR10", options=_NO_TRAINING, targets="targets"),
    "cifar100": DatasetInfo("CIFAR-100, test", torchvision="CIFAR100", options=_NO_TRAINING, targets="targets"),
    "stl10": DatasetInfo("STL-10, test", torchvision="STL10", options=_TEST, targets="labels"),
    "food101": DatasetInfo("Food-101, test", torchvision="Food101", options=_TEST),
    "flowers102": DatasetInfo("Oxford Flowers 102, test", torchvision="Flowers102", options=_TEST, needs="scipy"),
    "dtd": DatasetInfo("Describable Textures, test", torchvision="DTD", options=_TEST),
    "aircraft": DatasetInfo("FGVC Aircraft, test", torchvision="FGVCAircraft", options=_TEST),
    "eurosat": DatasetInfo("EuroSAT, all", torchvision="EuroSAT", targets="targets"),
    "caltech101": DatasetInfo(
        "Caltech-101, all", torchvision="Caltech101", targets="y", names="categories", needs="scipy"
    ),
    "mnist": DatasetInfo("MNIST, test", torchvision="MNIST", options=_NO_TRAINING, targets="targets"),
    "coco": DatasetInfo("COCO 2017, validation; several classes an image", f"{_OPENING}:open_coco", fetched=False),
}
