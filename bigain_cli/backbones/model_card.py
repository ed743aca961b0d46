"""A model's card, `bigain.json`: what its folder holds beyond diffusers' own files.

Measured recommendations (score, temperature, compression, range of timesteps), its patch size and its vocabulary. Must
not import torch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigain_cli.backbones.card_checks import check_card
from bigain_cli.backbones.model_locations import ModelLocation, is_present, model_folder
from bigain_cli.errors import ModelError
from bigain_cli.json_text import read_json
from bigain_cli.labels.templates import default_template
from bigain_cli.registry import DEFAULT_MODEL, MODELS

CARD_FILE = "bigain.json"
TRAINING_FOLDER = "training"  # for files of `bigain train` that are no part of the model


@dataclass(frozen=True)
class Sampling:
    """The best settings for generating; None leaves a setting to the family, or to the sampler."""

    compress: str = "none"
    guidance: float | None = None
    sampler: str | None = None
    steps: int | None = None

    def with_guidance(self, guidance: float) -> Sampling:
        """Fill in the family's guidance, unless the model has its own."""
        return self if self.guidance is not None else dataclasses.replace(self, guidance=guidance)


@dataclass(frozen=True)
class ModelCard:
    """A model's own settings; the defaults are for a model that was not measured."""

    score: str = "l2"
    temperature: float | None = None  # of the probabilities under `score`, in its units
    compress: str = "none"
    draws: int | None = None  # the most per label that were measured to pay
    least_draws: int | None = None  # the fewest that were measured to settle an answer rightly
    sampling: Sampling = field(default_factory=Sampling)
    times: tuple[float, float] = (0.0, 1.0)  # the share of the schedule that timesteps are drawn from
    views: str = "none"  # of the image, of which each draw takes one, if that was measured to be better
    patch: int = 1  # pixels along a side of one position of a U-Net without a VAE
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    templates: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)  # data, recipe, device, accuracy: for readers

    @property
    def template(self) -> str:
        """Return the template of a label's prompt."""
        return default_template(self.templates)

    @staticmethod
    def read(folder: Path) -> ModelCard:
        """Read the card of a folder; without one, the defaults."""
        path = folder / CARD_FILE
        if not path.exists():
            return ModelCard()
        try:
            if not path.is_file():
                raise ValueError("not a file")
            return ModelCard.from_dict(read_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError) as problem:
            raise ModelError(str(path), f"unreadable ({problem})", "Correct it, or remove it.") from problem

    @staticmethod
    def text_for_identity(text: str) -> str:
        """Return a card's text without `about`, which changes nothing in the model.

        The order of entries stays as it is written: that of the classes gives a table's labels their numbers.
        """
        content = {name: value for name, value in read_json(text).items() if name != "about"}
        return json.dumps(content)

    @staticmethod
    def from_dict(content: dict[str, Any]) -> ModelCard:
        """Make a card of JSON's values, or refuse them."""
        if not isinstance(content, dict):
            raise TypeError("not a JSON object")
        known = {entry.name for entry in dataclasses.fields(ModelCard)}
        if unknown := sorted(content.keys() - known):
            raise ValueError(f"unknown entry {unknown[0]!r}")
        values: dict[str, Any] = dict(content)
        values["classes"] = {name: _text_list(names) for name, names in values.get("classes", {}).items()}
        values["templates"] = _text_list(values.get("templates", ()))
        values["sampling"] = Sampling(**values.get("sampling", {}))
        low, high = values.get("times", (0.0, 1.0))
        values["times"] = (float(low), float(high))
        card = ModelCard(**values)
        check_card(card)
        return card

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1) + "\n"

    def timestep_range(self, length: int) -> tuple[int, int]:
        """Return the usable timesteps of a schedule."""
        low, high = (round(share * length) for share in self.times)
        low = min(low, length - 1)
        return low, max(high, low + 1)


def _text_list(values: Any) -> tuple[str, ...]:
    """Return a tuple of texts; refuse a single text, which would be split into letters."""
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r} is not a list of texts")
    return tuple(values)


def list_models(cache: Path) -> list[dict[str, Any]]:
    """Return all known models: whether each can be loaded without a download into `cache`, and its card."""
    return [
        {
            "name": name,
            "present": not model.hub or is_present(ModelLocation(name, "hub", model.hub), cache),
            "default": name == DEFAULT_MODEL,
            "about": model.about,
            "size_gb": model.size_gb,
            "licence": model.licence,
            "gated": model.gated,
            "source": model.hub or "in the package",
            "card": dataclasses.asdict(ModelCard.read(model_folder(model))) if model.folder else None,
        }
        for name, model in MODELS.items()
    ]


def model_pages() -> Iterator[str]:
    """Yield the model cards of the package's own models, which are beside the weights."""
    for name, model in MODELS.items():
        if model.folder:
            yield (model_folder(model) / "README.md").read_text(encoding="utf-8").replace("# ", f"# {name}: ", 1)
