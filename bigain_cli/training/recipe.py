"""The recipe of a training: everything its weights depend on but the images; also as a TOML file. Torch-free."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bigain_cli.errors import UsageError
from bigain_cli.limits import MOST_PIXELS, check_counts, read_text_file
from bigain_cli.near_names import did_you_mean

PRECISIONS = ("float32", "bfloat16", "float16")
TEMPLATES = ("{}", "a {}", "a photo of a {}", "a photo of a {}.", "a picture of a {}", "an image of a {}")
WIDTHS = {"unet": 32, "dit": 96}
ARCHITECTURES = tuple(WIDTHS)
PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow")
PATCHES = (1, 2, 4)
LEVELS = 3  # of a U-Net
LABEL_ENTRIES = ("early", "late")
ALL, SHARED = KEPT = ("all", "shared")
CONTRAST = 0.5  # weight of the comparison where the number of its labels is given, and no weight
MAX_SEED = 2**32 - 1  # other seeds are made from it by multiplying and counting up
HEAD = "# For `bigain train --recipe FILE.toml`. Options of the command override it; keys may be left out.\n"


def _key(default: Any, about: str) -> Any:
    """Declare a key of the recipe, with its description."""
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True)
class Recipe:
    """How to train: the shape of the network, the number of images, the learning rate and the loss."""

    arch: str = _key("unet", "Network: unet, which reads sentences, or dit, which reads class numbers")
    prediction: str = _key("epsilon", "What the network predicts: epsilon, v_prediction, sample or flow")
    size: int = _key(32, "Pixels of an image's side")
    patch: int = _key(2, "Pixels of a token's side: 1, 2 or 4")
    width: int = _key(32, "Channels of a U-Net's widest grid, or of a transformer")
    depth: int = _key(4, "Blocks of a transformer; a U-Net has three levels")
    label_entry: str = _key("early", "Where labels enter: early (in every block) or late (in the last ones)")
    label_blocks: int = _key(0, "Last blocks that read late labels; 0: one of a U-Net's three, a transformer's quarter")
    images: int = _key(400_000, "Images to train on, repetitions counted")
    batch: int = _key(64, "Images per step")
    rate: float = _key(1e-3, "Peak learning rate (cosine decay)")
    warmup: int = _key(6_400, "Images until the highest learning rate")
    decay: float = _key(0.01, "Weight decay")
    ema: float = _key(0.999, "Decay of the moving average of the weights, per step")
    drop: float = _key(0.1, "Share of images that are trained on without their label")
    muon: float = _key(0.0, "Peak learning rate of Muon, for matrices and kernels; 0: AdamW for all weights")
    contrast: float = _key(0.0, "Weight of the loss that compares the right label with wrong ones; 0: plain diffusion")
    contrast_labels: int = _key(1, "Wrong labels that the right one is compared with; more than there are means all")
    sharpness: float = _key(30.0, "Factor of the relative gap in that comparison; too high, and gaps shrink")
    contrast_from: float = _key(0.0, "Share of the training after which that loss starts")
    compared: float = _key(1.0, "Share of each batch whose labels are compared")
    compare_from: float = _key(0.0, "Labels are compared from this share of the noise schedule on")
    compare_to: float = _key(1.0, "Labels are compared up to this share of the noise schedule")
    classifier: float = _key(
        0.0, "Weight of a classifier on the block before late labels (a U-Net's middle one); 0: none"
    )
    classifier_first: float = _key(0.0, "Share of the training in which only that part of the network learns, at first")
    shared_rate: float = _key(1.0, "Factor of the learning rates up to that block, once all of the network learns")
    keep: str = _key(ALL, "What --from keeps: all weights, or shared: not those behind the classifier's block")
    tilt: float = _key(1.0, "Exponent of the random timesteps, u^tilt: above 1, more of them have little noise")
    flip: bool = _key(True, "Mirror half of the images")
    shift: int = _key(0, "Move images by up to so many pixels in both directions")
    precision: str = _key("float32", "float32, bfloat16 or float16")
    seed: int = _key(0, "Random seed")

    def __post_init__(self) -> None:
        _check(vars(self), lambda key, value: f"{key} {value}")

    @property
    def grid(self) -> int:
        """Return the tokens on a side of the widest grid."""
        return self.size // self.patch

    @property
    def late_blocks(self) -> int:
        """Return how many of a U-Net's last three blocks, or of a transformer's blocks, read late labels."""
        return self.label_blocks or (1 if self.arch == "unet" else math.ceil(self.depth / 4))

    @property
    def steps(self) -> int:
        """Return how many times the weights change."""
        return math.ceil(self.images / self.batch)

    def images_after(self, step: int) -> int:
        """Return how many images the training has had after a step, at most `images`: the last batch may go beyond."""
        return min(step * self.batch, self.images)

    def rate_at(self, step: int) -> float:
        """Return the learning rate: a linear warm-up, times half a cosine down to zero; twice if a part is first."""
        begin, end = (0, self.first_steps) if self.learns_classifier(step) else (self.first_steps, self.steps)
        warmup = min(1.0, (step - begin + 1) * self.batch / self.warmup) if self.warmup else 1.0
        return self.rate * warmup * 0.5 * (1 + math.cos(math.pi * (step - begin) / (end - begin)))

    @property
    def first_steps(self) -> int:
        """Return for how many steps the classifier is trained alone."""
        return round(self.classifier_first * self.steps)

    @property
    def shortest_stage(self) -> int:
        """Return the images of the training, or of the shorter of its two stages."""
        first = self.images_after(self.first_steps)
        return min(each for each in (first, self.images - first) if each)

    def learns_classifier(self, step: int) -> bool:
        """Return whether a step trains the classifier alone."""
        return step < self.first_steps

    def ema_at(self, step: int) -> float:
        """Return the decay of the average, which is smaller in the first steps."""
        return min(self.ema, (1 + step) / (10 + step))

    def uses_contrast(self, step: int) -> bool:
        """Return whether a step compares right labels with wrong ones."""
        return self.contrast > 0 and step >= self.contrast_from * self.steps

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe in plain values."""
        return dataclasses.asdict(self)

    def to_toml(self) -> str:
        """Write a recipe file, with a comment on every key."""
        return HEAD + "".join(f"{key} = {json.dumps(value)}  # {ABOUT[key]}\n" for key, value in self.to_dict().items())


ABOUT = {key.name: key.metadata["about"] for key in dataclasses.fields(Recipe)}
KEYS = {key.name: type(key.default) for key in dataclasses.fields(Recipe)}
TYPES = {int: "a whole number", float: "a number", str: "a text in quotes", bool: "true or false"}
Named = Callable[[str, Any], str]  # from a key and its value to their name in errors


def given_values(path: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe's file and of options, which override it, without any defaults."""
    return {**({} if path is None else _read(path)), **given}


def load_recipe(path: str | None, given: Mapping[str, Any]) -> Recipe:
    """Make a recipe from a file and from the values of options, which override it."""
    found = {} if path is None else _read(path)
    values = {**found, **given}
    values.setdefault("width", WIDTHS.get(values.get("arch", Recipe.arch), Recipe.width))
    values.setdefault("contrast", CONTRAST if "contrast_labels" in values else Recipe.contrast)

    def named(key: str, value: Any) -> str:
        in_file = key in found and key not in given
        return f"{path}, {key} = {json.dumps(value)}" if in_file else f"--{key.replace('_', '-')} {value}"

    everything = {key: values.get(key, getattr(Recipe, key)) for key in KEYS}
    _check(everything, named)
    recipe = Recipe(**everything)
    for wrong, key, why in (
        (recipe.arch == "unet", "depth", "a U-Net has three levels"),
        (recipe.label_entry != "late", "label_blocks", "labels enter in every block"),
        (not recipe.contrast, "contrast_labels", "labels are not compared while contrast is 0"),
        (not recipe.contrast, "sharpness", "labels are not compared while contrast is 0"),
        (not recipe.contrast, "contrast_from", "labels are not compared while contrast is 0"),
        (not recipe.contrast, "compared", "labels are not compared while contrast is 0"),
        (not recipe.contrast and not recipe.classifier, "compare_from", "labels are not compared while contrast is 0"),
        (not recipe.contrast and not recipe.classifier, "compare_to", "labels are not compared while contrast is 0"),
        (not recipe.classifier, "shared_rate", "there is no classifier that the part before it could forget"),
        (not recipe.classifier, "keep", "there is no classifier, up to whose block weights are kept"),
    ):
        value = everything[key]
        if wrong and value != getattr(Recipe, key):
            raise UsageError(named(key, value), f"has no effect: {why}", "Leave it out.")
    return recipe


def _read(path: str) -> dict[str, Any]:
    """Read a recipe file; refuse keys that a recipe does not have, and values of another type."""
    try:
        found = tomllib.loads(read_text_file(path, f"--recipe {path}").decode("utf-8-sig"))
    except FileNotFoundError as problem:
        hint = "bigain train --recipe-template prints one to begin with."
        raise UsageError(f"--recipe {path}", "no such file", hint) from problem
    except (OSError, ValueError, RecursionError) as problem:  # the last one for deep nesting
        hint = "It is TOML, with texts in quotes; bigain train --recipe-template prints one to begin with."
        raise UsageError(f"--recipe {path}", f"cannot be read ({problem})", hint) from problem
    for key, value in found.items():
        if key not in KEYS:
            raise UsageError(f"{path}, {key}", "not a key of a recipe", did_you_mean(key, KEYS))
        if KEYS[key] is float and type(value) is int and abs(value) < 2**63:
            found[key] = float(value)
        elif type(value) is not KEYS[key] or (type(value) is int and abs(value) >= 2**63):
            raise UsageError(f"{path}, {key} = {value!r}", f"not {TYPES[KEYS[key]]}", "Change its value.")
    return found


def _check(values: Mapping[str, Any], named: Named) -> None:
    """Refuse values that no training can have."""
    check_counts(**values)
    for wrong, key, why, hint in _problems(**values):
        if wrong:
            raise UsageError(named(key, values[key]), why, hint)


def _problems(
    arch: str, size: int, patch: int, width: int, images: int, batch: int, precision: str, seed: int, **others: Any
) -> Iterator[tuple[bool, str, str, str]]:
    yield arch not in ARCHITECTURES, "arch", "unknown", did_you_mean(arch, ARCHITECTURES)
    yield precision not in PRECISIONS, "precision", "unknown", did_you_mean(precision, PRECISIONS)
    prediction = others["prediction"]
    yield prediction not in PREDICTIONS, "prediction", "unknown", did_you_mean(prediction, PREDICTIONS)
    steps_apart = others["muon"] and precision == "float16"  # each optimiser leaves out the steps that overflow for it
    yield steps_apart, "precision", "does not go with muon, as its steps overflow", "Use bfloat16."
    yield patch not in PATCHES, "patch", "not supported", "Use 1, 2 or 4."
    entry = others["label_entry"]
    yield entry not in LABEL_ENTRIES, "label_entry", "unknown", did_you_mean(entry, LABEL_ENTRIES)
    yield others["keep"] not in KEPT, "keep", "unknown", did_you_mean(others["keep"], KEPT)
    multiple = patch * (4 if arch == "unet" else 1)
    bad_size = size < 2 * multiple or size % multiple != 0
    yield bad_size, "size", f"must be a multiple of {multiple}, from {2 * multiple} on", "Try 32 or 64."
    yield not 0 <= others["shift"] < size // 2, "shift", "must be from 0 up to half an image", "Lower it."
    unit = 16 if arch == "dit" else 8
    bad_width = width < unit or width % unit != 0
    yield bad_width, "width", f"must be a multiple of {unit}", f"Try {WIDTHS.get(arch, 32)}."
    counts = {"depth": others["depth"], "images": images, "batch": batch, "warmup": others["warmup"], "seed": seed}
    counts["contrast_labels"] = others["contrast_labels"]
    for key, value in counts.items():
        least = 0 if key in ("warmup", "seed") else 1
        yield value < least, key, f"must be at least {least}", "Raise it."
    yield seed > MAX_SEED, "seed", f"must be at most {MAX_SEED}", "Lower it."
    too_many = batch * size * size > MOST_PIXELS
    yield too_many, "batch", f"too many at once: {MOST_PIXELS // size**2} images of {size} pixels at most", "Lower it."
    yield batch > images, "batch", f"more than the {images} images of the training", "Lower it, or raise --images."
    why = "the whole of this network reads the label"
    yield bool(others["classifier"]) and entry != "late", "classifier", why, 'Add label_entry = "late".'
    single = arch == "dit" and entry == "late" and others["depth"] == 1
    yield single, "depth", "no block is left before a late label", "Raise it."
    most = LEVELS if arch == "unet" else max(others["depth"] - 1, 0)
    yield not 0 <= others["label_blocks"] <= most, "label_blocks", f"must be from 0 to {most}", "Or leave it out."
    alone = others["classifier_first"] > 0 and not others["classifier"]
    yield alone, "classifier_first", "there is no classifier", "Add classifier = 0.5."
    low, high = others["compare_from"], others["compare_to"]
    yield not 0 <= low < high <= 1, "compare_to", "must be above compare_from, and at most 1", "Raise it."
    yield not 0 < others["compared"] <= 1, "compared", "must be above 0, up to 1", "Raise it."
    for key in ("rate", "sharpness", "tilt", "shared_rate"):
        yield not (0 < others[key] < math.inf), key, "must be a positive number", "Raise it."
    for key in ("decay", "contrast", "muon", "classifier"):
        yield not (0 <= others[key] < math.inf), key, "must not be negative", "0 switches it off."
    for key in ("ema", "drop", "contrast_from", "classifier_first"):
        yield not (0 <= others[key] < 1), key, "must be from 0 up to, but not including, 1", "Lower it."


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two recipes differ, each as `key old → new`."""
    keys = sorted(one.keys() | other.keys())
    return [f"{key} {one.get(key)} → {other.get(key)}" for key in keys if one.get(key) != other.get(key)]
