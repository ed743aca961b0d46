"""What a model's folder tells before its weights are read: the words it knows, the pictures it draws. Torch-free.

In: a reference; out: an `Outline`, or nothing where only loading can tell. Loading has the last word.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigain_cli.backbones.card import Card
from bigain_cli.backbones.phrases import Phrases
from bigain_cli.backbones.vocabulary import Vocabulary
from bigain_cli.models import Reference


@dataclass(frozen=True)
class Outline:
    """A backbone without its networks; the names are those of the contract."""

    name: str
    latent_shape: tuple[int, int, int]
    scale: int
    elastic: bool
    length: int
    card: Card
    vocabulary: Vocabulary | None
    read: Callable[[str], object]  # refuses a prompt that the model cannot know


def outline_of(reference: Reference) -> Outline | None:
    """Read a local folder's configurations."""
    if reference.kind != "folder":
        return None
    folder = Path(reference.where)
    card = Card.read(folder)
    try:
        if (folder / "unet").is_dir():
            return _unet(reference.name, folder, card)
        return _dit(reference.name, folder, card) if (folder / "transformer").is_dir() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # loading says what is wrong with it


def _unet(name: str, folder: Path, card: Card) -> Outline:
    config = _json(folder / "unet" / "config.json")
    size = config["sample_size"]
    shape = (config["in_channels"], *((size, size) if isinstance(size, int) else (size[0], size[1])))
    read = Phrases(card.classes, card.templates).folded if card.classes else str
    return Outline(name, shape, _scale(folder, card), True, _length(folder), card, None, read)


def _dit(name: str, folder: Path, card: Card) -> Outline:
    config = _json(folder / "transformer" / "config.json")
    names = {int(number): str(each) for number, each in _json(folder / "model_index.json")["id2label"].items()}
    vocabulary = Vocabulary(names, unconditional=config["num_embeds_ada_norm"])  # the weights say whether it has one
    shape = (config["in_channels"], config["sample_size"], config["sample_size"])
    return Outline(name, shape, _scale(folder, card), False, _length(folder), card, vocabulary, vocabulary.find)


def _scale(folder: Path, card: Card) -> int:
    """Return the pixels along a side of a latent's place."""
    if not (folder / "vae").is_dir():
        return card.patch
    return int(2 ** (len(_json(folder / "vae" / "config.json")["block_out_channels"]) - 1))


def _length(folder: Path) -> int:
    return int(_json(folder / "scheduler" / "scheduler_config.json").get("num_train_timesteps", 1000))


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
