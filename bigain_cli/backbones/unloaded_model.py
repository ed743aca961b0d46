"""What can be said of a model before it is loaded: its card, and the classes of a model that knows its own.

In: a place of weights; out: what the JSON files there say. Must not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigain_cli.backbones.folder_checks import read_object
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.model_locations import NETWORKS, ModelLocation, cached_snapshot
from bigain_cli.backbones.vocabulary import ClassVocabulary, PromptVocabulary
from bigain_cli.errors import ModelError
from bigain_cli.registry import CLOSED_FORMS, MODELS, attribute


@dataclass(frozen=True)
class UnloadedModel:
    """A model's place, its card, and its vocabulary: None if it reads any text, or is not on this machine yet."""

    location: ModelLocation
    card: ModelCard
    vocabulary: ClassVocabulary | PromptVocabulary | None

    @property
    def may_know_classes(self) -> bool:
        """Whether the model has classes of its own, or may turn out to have some once it is downloaded."""
        known = MODELS.get(self.location.name)
        return self.vocabulary is not None or (known is not None and known.has_classes)

    def refuse_unknown(self, prompts: Iterable[str]) -> None:
        """Refuse prompts that a closed vocabulary does not know; the empty one, no condition, is left to the model."""
        for prompt in filter(str.strip, prompts):
            if isinstance(self.vocabulary, ClassVocabulary):
                self.vocabulary.find(prompt)
            elif self.vocabulary is not None:
                self.vocabulary.normalise(prompt)


def read_unloaded(location: ModelLocation, cache: Path) -> UnloadedModel:
    """Read what the files of a model say; those of a hub's model are looked for in a `cache` of downloads."""
    if location.kind == "form":
        names: dict[str, Any] = attribute(CLOSED_FORMS[location.where].classes)
        return UnloadedModel(location, ModelCard(), ClassVocabulary(dict(enumerate(names)), unconditional=len(names)))
    folder = cached_snapshot(location, cache) if location.kind == "hub" else Path(location.where)
    if folder is None or not folder.is_dir():
        return UnloadedModel(location, ModelCard(), None)
    card = ModelCard.read(folder)
    return UnloadedModel(location, card, _vocabulary(folder, card))


def _vocabulary(folder: Path, card: ModelCard) -> ClassVocabulary | PromptVocabulary | None:
    """Return a folder's vocabulary; what is wrong with its files is said when the model is loaded."""
    part = next((part for part in NETWORKS if (folder / part).is_dir()), None)
    if part == "unet" and card.classes:
        return PromptVocabulary(card.classes, card.templates)
    if part != "transformer":
        return None
    try:
        names = dict(read_object(folder / "model_index.json")["id2label"])
        names = {int(number): str(name) for number, name in names.items()}
    except (ModelError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return ClassVocabulary(names, unconditional=None) if names else None
