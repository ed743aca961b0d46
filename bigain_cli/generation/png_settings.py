"""The settings in a PNG of `generate`: everything needed to generate the image again. Torch-free."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bigain_cli.errors import UsageError
from bigain_cli.generation.options import GenerationOptions, check_images, size_text
from bigain_cli.generation.zoom import Zoom, as_zoom
from bigain_cli.limits import MOST_IMAGES, check_counts
from bigain_cli.outputs.png import settings_of
from bigain_cli.version import __version__

TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(
        ("sampler", "negative", "compress", "model", "dtype", "version", "weights", "prompt", "zoom"), (str,)
    ),
    **dict.fromkeys(("steps", "seed", "batch", "count"), (int,)),
    "guidance": (int, float),
    "size": (list,),
    "prompts": (list,),
}
LISTS: Mapping[str, tuple[type, int, int]] = {"size": (int, 2, 2), "prompts": (str, 1, MOST_IMAGES)}
UNALTERED = "Give an unaltered image of bigain generate."


@dataclass(frozen=True)
class PreviousImage:
    """An image that was generated before, alone or as a grid of several."""

    path: str
    settings: Mapping[str, Any]
    prompts: tuple[str, ...]
    options: GenerationOptions
    model: str
    dtype: str
    version: str
    weights: str
    zoom: Zoom | None = None  # a grid without it is an older one, which has no captions

    @property
    def count(self) -> int:
        """Return how many images of each prompt there are."""
        return int(self.settings.get("count", 1))

    @property
    def is_grid(self) -> bool:
        """Return whether it is a grid of several images."""
        return "prompts" in self.settings

    def check_version(self, model: str) -> None:
        """Refuse an image of another version, whose sampling may differ."""
        if self.version.split(".")[:2] != __version__.split(".")[:2]:
            why = f"bigain {self.version} generated it and {__version__} may generate it differently"
            raise UsageError(self.path, why, f"Install that version, or generate it again: {self.command(model)}")

    def check_weights(self, model: str, identity: str) -> None:
        """Refuse a model that is not the one that generated the image."""
        if identity != self.weights:
            why = f"not the weights that generated {self.path}"
            hint = f"Name those with -m, or generate with these: {self.command(model)}"
            raise UsageError(f"model {model}", why, hint)

    def differences(self, settings: Mapping[str, Any]) -> Iterator[str]:
        """Yield what may change the last bits: versions other than those that generated the image."""
        for key in ("version", "libraries"):
            if self.settings.get(key) != settings[key]:
                yield f"{key} then {self.settings.get(key)}, now {settings[key]}: the last bits may differ"

    def command(self, model: str) -> str:
        """Return the command that generates the same image with another model or version."""
        settings = self.settings
        options = {"--negative": settings["negative"], "-c": settings["compress"], "--sampler": settings["sampler"]}
        options |= {"--steps": settings["steps"], "--guidance": settings["guidance"], "--seed": settings["seed"]}
        options |= {"--size": size_text(settings["size"]), "-m": model, "-n": self.count}
        options |= {"--zoom": self.zoom or ""}
        words = [word for name, value in options.items() if value != "" for word in _option(name, str(value))]
        return shlex.join(["bigain", "generate", *words, *["--grid"] * self.is_grid, "--", *self.prompts])


def _option(name: str, value: str) -> tuple[str, ...]:
    """Return the words of an option; a value that looks like an option itself is joined to its name."""
    if not value.startswith("-"):
        return name, value
    return (f"{name}={value}",) if name.startswith("--") else (f"{name}{value}",)


def read_previous(path: str) -> PreviousImage:
    """Read an image's settings; refuse settings that `generate` cannot have written."""
    settings = settings_of(path)
    check_types(path, settings)
    try:
        options = GenerationOptions(
            settings["sampler"],
            settings["steps"],
            float(settings["guidance"]),
            settings["negative"],
            (int(settings["size"][0]), int(settings["size"][1])),
            settings["seed"],
            settings["compress"],
            settings["batch"],
        )
        prompts = tuple(map(str, settings["prompts"] if "prompts" in settings else [settings["prompt"]]))
        model, dtype, version, weights = (str(settings[name]) for name in ("model", "dtype", "version", "weights"))
        zoom = as_zoom(settings["zoom"]) if "zoom" in settings else None
        return PreviousImage(path, settings, prompts, options, model, dtype, version, weights, zoom)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as problem:
        raise UsageError(path, f"its settings cannot be read ({problem})", UNALTERED) from problem


def check_types(path: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings of a type that `generate` never writes, and numbers that nothing can be made with."""
    for name, types in TYPES.items():
        value = settings.get(name)
        if name in settings and (not isinstance(value, types) or isinstance(value, bool)):
            raise UsageError(path, f"its setting {name!r} cannot be {_short(value)}", UNALTERED)
    for name, (kind, fewest, most) in LISTS.items():
        value = settings.get(name, [])
        plain = all(isinstance(each, kind) and not isinstance(each, bool) for each in value)
        if name in settings and not (plain and fewest <= len(value) <= most):
            raise UsageError(path, f"its setting {name!r} cannot be {_short(value)}", UNALTERED)
    try:
        check_counts(**{name: settings.get(name) for name in ("steps", "seed", "batch", "count")})
        check_images(len(settings.get("prompts", [0])), settings.get("count", 1))
    except UsageError as problem:
        raise UsageError(path, f"its settings cannot be used: {problem.what} is {problem.why}", UNALTERED) from problem


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:80]} …"
