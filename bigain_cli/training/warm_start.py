"""Weights to start from instead of random ones: another trained backbone's.

The network's shape must be the same. Classes and words of the same name keep their weights; new ones start from
random ones. Must not know the training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.model_locations import resolve
from bigain_cli.errors import ModelError, UsageError
from bigain_cli.training.networks import TrainableBackbone, TrainableUNet, dit_config, unet_config
from bigain_cli.training.recipe import Recipe

OPTIONS = {  # by what a network's configuration calls them
    "sample_size": "--size, or the recipe's patch",
    "in_channels": "the recipe's patch",
    "patch_size": "the recipe's patch",
    "block_out_channels": "--width",
    "num_attention_heads": "--width",
    "num_layers": "the recipe's depth",
}
NETWORKS = ("text_encoder", "transformer", "unet")
CLASS_TABLE = "class_embedder.embedding_table.weight"


@dataclass(frozen=True)
class WarmStart:
    """A backbone to start from."""

    name: str
    folder: Path
    card: ModelCard

    def about(self) -> dict[str, Any]:
        """Return what is known about it, in plain values."""
        digest = hashlib.blake2b(digest_size=8)
        for part in NETWORKS:
            for path in sorted((self.folder / part).glob("*.safetensors")):
                digest.update(path.read_bytes())
        kept = ("data", "shown", "minutes", "device", "recipe", "start")
        facts = {key: value for key, value in self.card.about.items() if key in kept}
        return {"model": self.name, "weights": digest.hexdigest(), **facts}


def warm_start(name: str, recipe: Recipe) -> WarmStart:
    """Find a backbone to start from: one that `bigain train` has made, of the recipe's shape."""
    reference = resolve(name)
    folder = Path(reference.where)
    card = ModelCard.read(folder) if reference.kind == "folder" else ModelCard()
    if "recipe" not in card.about:
        raise UsageError(f"--from {name}", "not a backbone made by bigain train", "Train one, or leave --from out.")
    source = WarmStart(name, folder, card)
    _refuse_other(source, recipe)
    return source


def copy_weights(source: WarmStart, trainable: TrainableBackbone, classes: Sequence[str]) -> None:
    """Give a trainable the weights of a backbone, where their names are the same."""
    with torch.no_grad():
        if isinstance(trainable, TrainableUNet):
            _fill(source, trainable.network, _tensors(source.folder / "unet"))
            _fill_text(source, trainable)
        else:
            weights = _tensors(source.folder / "transformer")
            names = list(source.card.classes)
            old = [*(names.index(name) if name in names else None for name in classes), len(names)]
            for key in [key for key in weights if key.endswith(CLASS_TABLE)]:
                weights[key] = _rows(weights[key], trainable.network.state_dict()[key], old)
            _fill(source, trainable.network, weights)


def _refuse_other(source: WarmStart, recipe: Recipe) -> None:
    """Refuse a network of another shape, by the option that would make it the same."""
    what = f"--from {source.name}"
    theirs_arch = source.card.about["recipe"].get("arch")
    if theirs_arch != recipe.arch:
        raise UsageError(what, f"is a {theirs_arch}, and this training is not", f"Add --arch {theirs_arch}.")
    file = source.folder / ("unet" if recipe.arch == "unet" else "transformer") / "config.json"
    try:
        theirs = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelError(what, f"incomplete ({file.name}: {problem})", "Restore it, or leave --from out.") from problem
    config = unet_config(recipe) if recipe.arch == "unet" else dit_config(recipe, 0)
    for key, option in OPTIONS.items():
        mine = config.get(key)
        mine = list(mine) if isinstance(mine, tuple) else mine
        if key in config and theirs.get(key) != mine:
            why = f"has another {key} ({theirs.get(key)}, not {mine}): {option}"
            raise UsageError(what, why, "Give the shape that it was trained with, as its README.md says.")


def _fill_text(source: WarmStart, trainable: TrainableUNet) -> None:
    """Copy a text encoder's weights: every word's by its name, positions' up to the longest sentence."""
    weights = _tensors(source.folder / "text_encoder")
    content = json.loads((source.folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    known: dict[str, int] = content["model"]["vocab"]
    vocabulary: dict[str, int] = trainable.tokenizer.get_vocab()
    mine = trainable.text_encoder.state_dict()
    words = sorted(vocabulary, key=lambda word: vocabulary[word])
    places = next(key for key in mine if key.endswith("position_embedding.weight"))
    tokens = next(key for key in mine if key.endswith("token_embedding.weight"))
    weights[tokens] = _rows(weights[tokens], mine[tokens], [known.get(word) for word in words])
    count = len(weights[places])
    weights[places] = _rows(weights[places], mine[places], [n if n < count else None for n in range(len(mine[places]))])
    _fill(source, trainable.text_encoder, weights)


def _rows(theirs: Tensor, mine: Tensor, old: Sequence[int | None]) -> Tensor:
    """Return a table with rows of another, or its own where the other has none."""
    rows = [mine[row] if other is None else theirs[other].to(mine) for row, other in enumerate(old)]
    return torch.stack(rows)


def _fill(source: WarmStart, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    mine = network.state_dict()
    wrong = [key for key, value in _learned(mine) if key not in weights or weights[key].shape != value.shape]
    if wrong:
        raise ModelError(f"--from {source.name}", f"its {wrong[0]} does not fit", "Train without --from.")
    network.load_state_dict({key: weights[key].to(value) for key, value in _learned(mine)}, strict=False)


def _learned(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((key, value) for key, value in state.items() if value.is_floating_point())


def _tensors(folder: Path) -> dict[str, Tensor]:
    try:
        return {key: value for path in sorted(folder.glob("*.safetensors")) for key, value in load_file(path).items()}
    except (OSError, SafetensorError) as problem:
        raise ModelError(str(folder), f"unreadable ({problem})", "Restore it.") from problem
