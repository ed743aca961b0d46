"""What can be named on the command line, and where its code is: tables, and one function that imports what they name.

Code is named as `module:attribute`. Must not import torch, nor any module that it lists.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bigain_cli.errors import check_known
from bigain_cli.hub_models import HUB_MODELS, Model

_ESTIMATORS, _HEATMAPS = "bigain_cli.classification.estimators", "bigain_cli.classification.heatmaps"
_FEATURES, _METRICS = "bigain_cli.evaluation.image_features", "bigain_cli.evaluation.image_metrics"
BLOCK = 8  # draws between two checks of an image's gaps: one in each eighth of time


@dataclass(frozen=True)
class Schedule:
    """A way to eliminate labels: the function that returns those to keep, and how many draws it takes."""

    keep: str
    about: str
    draws: int = 256
    block: int = BLOCK  # draws between two calls of the function
    staged: tuple[tuple[int, ...], ...] = ()  # fixed timesteps of each stage, of 1000


@dataclass(frozen=True)
class Score:
    """How labels are scored: the function from denoising errors to losses."""

    losses: str
    about: str
    absolute: bool = False  # whether errors are mean absolute values, not mean squares
    floor: float = 0.0  # the least standard deviation of differences that is assumed
    bounded: bool = False  # whether differences lie within ±1, so that intervals hold at any number of draws
    weigh: str = f"{_HEATMAPS}:equal_weights"  # a draw's weight in a heatmap; without it, there are no heatmaps
    additive: bool = True  # whether the errors of pixels add up to it


@dataclass(frozen=True)
class ClosedForm:
    """A model without weights: the function that makes it, and a table whose keys are its classes."""

    load: str
    classes: str


@dataclass(frozen=True)
class Output:
    """A record format: its writer and the file suffixes that choose it."""

    writer: str
    about: str
    suffixes: tuple[str, ...]
    images: bool = False  # whether it contains the images
    top: int = 1  # labels for each image, by default
    needs: str = ""  # a library, which the extra of the format's name installs


@dataclass(frozen=True)
class RegisteredFunction:
    """A function by its module and name, and what it is about; its table says what it takes and returns."""

    target: str
    about: str


_FIRST = (125, 325, 525, 725, 925)
_OTHERS = tuple(t for t in range(25, 1000, 50) if t not in _FIRST)

SCHEDULES = {
    "race": Schedule(f"{_ESTIMATORS}:race", "eliminate a label once its gap is significant"),
    "ttest": Schedule(f"{_ESTIMATORS}:ttest", "eliminate a label at p < 0.002, from 20 draws on"),
    "staged": Schedule(
        f"{_ESTIMATORS}:staged",
        "as published: 5 draws for all, 15 more for the best 5",
        draws=20,
        staged=(_FIRST, _OTHERS),
    ),
    "fixed": Schedule(f"{_ESTIMATORS}:fixed", "every label gets every draw", draws=64),
}
SCORES = {
    "l2": Score(f"{_ESTIMATORS}:mean_square", "mean square of the residual"),
    "norm": Score(f"{_ESTIMATORS}:norm", "root of the mean square", weigh=f"{_HEATMAPS}:tangent", additive=False),
    "log": Score(
        f"{_ESTIMATORS}:logarithm",
        "logarithm of the mean square, which bigain train minimises",
        weigh=f"{_HEATMAPS}:relative",
        additive=False,
    ),
    "l1": Score(f"{_ESTIMATORS}:mean_absolute", "mean absolute residual", absolute=True),
    "vote": Score(
        f"{_ESTIMATORS}:vote",
        "share of draws with the least error",
        floor=1.0,
        bounded=True,
        weigh="",
        additive=False,
    ),
}
ERRORS = {  # what errors are of: the function from the shares of image and noise to the weight of ε̂ − ε
    "epsilon": RegisteredFunction("bigain_cli.classification.error_weights:of_noise", "the noise"),
    "sample": RegisteredFunction("bigain_cli.classification.error_weights:of_image", "the image that follows from it"),
    "velocity": RegisteredFunction("bigain_cli.classification.error_weights:of_velocity", "v, or a flow's ε − x"),
}
DEFAULT_ERROR = "epsilon"
DEFAULT_SCORE = "l2"  # of a model that was not measured
DTYPES = ("float32", "float16", "bfloat16")
BACKBONES = {  # by the network's class in diffusers, and what its configuration says, if that makes a family
    "UNet2DConditionModel": "bigain_cli.backbones.unet:load_unet",
    "UNet2DConditionModel text_time": "bigain_cli.backbones.sdxl:load_sdxl",
    "DiTTransformer2DModel": "bigain_cli.backbones.dit:load_dit",
    "Transformer2DModel": "bigain_cli.backbones.dit:load_dit",  # as DiT and PixArt are published
    "Transformer2DModel ada_norm_single": "bigain_cli.backbones.pixart:load_pixart",
    "PixArtTransformer2DModel": "bigain_cli.backbones.pixart:load_pixart",
    "SD3Transformer2DModel": "bigain_cli.backbones.stable_diffusion_3:load_sd3",
    "PRXTransformer2DModel": "bigain_cli.backbones.prx:load_prx",
    "FluxTransformer2DModel": "bigain_cli.backbones.flux:load_flux",
    "ChromaTransformer2DModel": "bigain_cli.backbones.chroma:load_chroma",
}
CLOSED_FORMS = {
    "colours": ClosedForm(
        "bigain_cli.backbones.gaussian_mixture:load_colours", "bigain_cli.backbones.colour_names:COLOURS"
    )
}
MODELS = {
    "mini": Model("the ten CIFAR-10 classes, 32 px: a U-Net", folder="backbones/mini"),
    "mini-late": Model("the same classes, 32 px: only to classify", folder="backbones/mini-late"),
    "mini-dit": Model("the same classes: a DiT, only to classify", folder="backbones/mini-dit"),
    "colours": Model("eleven colours in closed form, to test with", closed_form="colours"),
    **HUB_MODELS,
}
DEFAULT_MODEL = "mini"
OUTPUTS = {
    "table": Output("bigain_cli.outputs.table:Table", "aligned text to read", (".txt",)),
    "json": Output("bigain_cli.outputs.json:Json", "one array of records", (".json",), top=5),
    "jsonl": Output(
        "bigain_cli.outputs.json:JsonLines",
        "one line per image, at once; can be resumed",
        (".jsonl", ".ndjson"),
        top=5,
    ),
    "csv": Output("bigain_cli.outputs.csv_tsv:Csv", "comma-separated columns", (".csv",)),
    "tsv": Output("bigain_cli.outputs.csv_tsv:Tsv", "tab-separated columns, never quoted", (".tsv",)),
    "parquet": Output(
        "bigain_cli.outputs.parquet:Parquet",
        "typed columns for pandas, polars or DuckDB",
        (".parquet",),
        top=5,
        needs="pyarrow",
    ),
    "html": Output(
        "bigain_cli.outputs.html_report:Html", "one page with images and heatmaps", (".html", ".htm"), True, 5
    ),
}
FEATURES = {
    "backbone": RegisteredFunction(f"{_FEATURES}:middle", "the middle block of the model itself"),
    "inception": RegisteredFunction(f"{_FEATURES}:inception", "torchvision's Inception v3, if installed"),
}
DEFAULT_FEATURE = "backbone"
MEASURES = {
    "frechet": RegisteredFunction(f"{_METRICS}:frechet", "Fréchet distance of two Gaussians; biased at small n"),
    "kernel": RegisteredFunction(f"{_METRICS}:kernel", "squared MMD of a cubic kernel; unbiased at any n"),
    "precision": RegisteredFunction(f"{_METRICS}:precision", "generated images among the real ones"),
    "recall": RegisteredFunction(f"{_METRICS}:recall", "real images among the generated ones"),
}


def attribute(target: str) -> Any:
    """Import what a table names as `module:attribute`."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def entry(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """Look a name up, or raise an error that suggests similar names."""
    check_known(kind, name, table)
    return table[name]


def rows_of(table: Mapping[str, Any], *fields: str) -> list[dict[str, Any]]:
    """Return a table's rows for listing: each name with some fields and its description."""
    return [{"name": name, **{key: getattr(line, key) for key in (*fields, "about")}} for name, line in table.items()]
