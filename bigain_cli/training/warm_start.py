"""Start from the weights of another trained backbone instead of random ones.

The network must have the same shape. Classes and words of the same name keep their weights; new ones get random
weights. Must not know the training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.model_locations import resolve
from bigain_cli.errors import ModelError, UsageError
from bigain_cli.json_text import read_json
from bigain_cli.training.checkpoint import load_checkpoint
from bigain_cli.training.networks import TrainableBackbone, TrainableUNet, dit_config, unet_config
from bigain_cli.training.output_folder import checkpoint_of
from bigain_cli.training.recipe import ALL, SHARED, Recipe

OPTIONS = {  # that set a key of a network's configuration
    "down_block_types": "--label-entry",
    "up_block_types": "the recipe's label_blocks, unless keep is shared",
    "sample_size": "--size, or the recipe's patch",
    "in_channels": "the recipe's patch",
    "patch_size": "the recipe's patch",
    "block_out_channels": "--width",
    "attention_head_dim": "the recipe's width, or made by another version",
    "num_attention_heads": "--width",
    "num_layers": "the recipe's depth",
}
OF_OPTIONS = ("size", "width", "label_entry")
OF_SHAPE = (*OF_OPTIONS, "patch")
SAME_SHAPE = "Give the shape that it was trained with, as its README.md says."
NETWORKS = ("text_encoder", "transformer", "unet")
CLASS_TABLE = "class_embedder.embedding_table.weight"


@dataclass(frozen=True)
class WarmStart:
    """A backbone to start from."""

    name: str
    folder: Path
    card: ModelCard

    def facts(self) -> dict[str, Any]:
        """Return what the model card of the new backbone records of this one."""
        digest = hashlib.blake2b(digest_size=8)
        for part in NETWORKS:
            for path in sorted((self.folder / part).glob("*.safetensors")):
                digest.update(path.read_bytes())
        keys = ("data", "shown", "minutes", "device", "recipe", "start")
        facts = {key: value for key, value in self.card.about.items() if key in keys}
        return {"model": self.name, "weights": digest.hexdigest(), **facts}


def warm_start(name: str, recipe: Recipe) -> WarmStart:
    """Find a backbone that `bigain train` made; refuse one of another shape than the recipe's."""
    reference = resolve(name)
    folder = Path(reference.where)
    card = ModelCard.read(folder) if reference.kind == "folder" else ModelCard()
    if "recipe" not in card.about:
        raise UsageError(f"--from {name}", "not a backbone made by bigain train", "Train one, or leave --from out.")
    source = WarmStart(name, folder, card)
    _check_shape(source, recipe)
    return source


def copy_weights(source: WarmStart, trainable: TrainableBackbone, classes: Sequence[str], keep: str = ALL) -> None:
    """Copy the weights of a backbone into a trainable one, matching classes and words by name.

    To keep the shared ones alone leaves those behind the classifier's block as they are, which is random.
    """
    later = trainable.later_weights() if keep == SHARED else []
    with torch.no_grad():
        if isinstance(trainable, TrainableUNet):
            _load_weights(source, trainable.network, _read_tensors(source.folder / "unet"), later)
            _copy_text_encoder(source, trainable)
        else:
            weights = _read_tensors(source.folder / "transformer")
            names = list(source.card.classes)
            rows = [*(names.index(name) if name in names else None for name in classes), len(names)]
            for key in [key for key in weights if key.endswith(CLASS_TABLE)]:
                weights[key] = _select_rows(weights[key], rows, trainable.network.state_dict()[key])
            _load_weights(source, trainable.network, weights, later)
        _copy_classifier(source, trainable, classes)


def _check_shape(source: WarmStart, recipe: Recipe) -> None:
    """Refuse a network of another shape; name the option that would make it the same."""
    what = f"--from {source.name}"
    arch = source.card.about["recipe"].get("arch")
    if arch != recipe.arch:
        raise UsageError(what, f"is a {arch}, and this training is not", f"Add --arch {arch}.")
    _check_settings(what, source.card.about["recipe"], recipe)
    file = source.folder / ("unet" if recipe.arch == "unet" else "transformer") / "config.json"
    try:
        source_config = read_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelError(what, f"incomplete ({file.name}: {problem})", "Restore it, or leave --from out.") from problem
    config = unet_config(recipe) if recipe.arch == "unet" else dit_config(recipe, 0)
    kept_shared = recipe.arch == "unet" and recipe.keep == SHARED
    for key, option in OPTIONS.items():
        if kept_shared and key == "up_block_types":
            continue  # they are not kept
        value = list(config[key]) if isinstance(config.get(key), tuple) else config.get(key)
        if key in config and source_config.get(key) != value:
            why = f"has another {key} ({source_config.get(key)}, not {value}): {option}"
            raise UsageError(what, why, SAME_SHAPE)


def _check_settings(what: str, trained: Mapping[str, Any], recipe: Recipe) -> None:
    """Refuse a network of which the recipe that it was trained with says that it has another shape."""
    keys = [*OF_SHAPE, *(["depth"] if recipe.arch == "dit" else [])]
    theirs = {key: trained.get(key, getattr(Recipe, key)) for key in keys}
    ours = {key: getattr(recipe, key) for key in keys}
    if theirs["label_entry"] == ours["label_entry"] == "late" and (recipe.arch == "dit" or recipe.keep != SHARED):
        shape = {"depth": theirs.get("depth", recipe.depth), "label_blocks": trained.get("label_blocks", 0)}
        theirs["label_blocks"] = replace(recipe, **shape).late_blocks
        ours["label_blocks"] = recipe.late_blocks
    other = [key for key in theirs if theirs[key] != ours[key]]
    if not other:
        return
    why = "has another shape: " + ", ".join(f"{key} {theirs[key]}, not {ours[key]}" for key in other)
    options = [f"--{key.replace('_', '-')} {theirs[key]}" for key in other if key in OF_OPTIONS]
    settings = [f"{key} = {theirs[key]}" for key in other if key not in OF_OPTIONS]
    hint = " and ".join([*options, *([f"{', '.join(settings)} in the recipe"] if settings else [])])
    raise UsageError(what, why, f"Give {hint}.")


def _copy_text_encoder(source: WarmStart, trainable: TrainableUNet) -> None:
    """Copy a text encoder's weights: the words' by name, the positions' as far as the source has them."""
    weights = _read_tensors(source.folder / "text_encoder")
    content = read_json((source.folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    source_ids: dict[str, int] = content["model"]["vocab"]
    ids: dict[str, int] = trainable.tokenizer.get_vocab()
    initial = trainable.text_encoder.state_dict()
    words = sorted(ids, key=lambda word: ids[word])
    tokens = next(key for key in initial if key.endswith("token_embedding.weight"))
    weights[tokens] = _select_rows(weights[tokens], [source_ids.get(word) for word in words], initial[tokens])
    positions = next(key for key in initial if key.endswith("position_embedding.weight"))
    count = len(weights[positions])
    rows = [row if row < count else None for row in range(len(initial[positions]))]
    weights[positions] = _select_rows(weights[positions], rows, initial[positions])
    _load_weights(source, trainable.text_encoder, weights)


def _copy_classifier(source: WarmStart, trainable: TrainableBackbone, classes: Sequence[str]) -> None:
    """Copy the classifier before late labels, which the checkpoint has and the finished model has not."""
    path, classifier = checkpoint_of(source.folder), trainable.classifier
    if classifier is None or not path.exists():
        return
    prefix = "average.classifier."
    kept = {key: value for key, value in load_checkpoint(path).tensors.items() if key.startswith(prefix)}
    weights = {key.removeprefix(prefix): value for key, value in kept.items()}
    names, initial = list(source.card.classes), classifier.state_dict()
    rows = [names.index(name) if name in names else None for name in classes]
    for key in [key for key in weights if key.startswith("linear.")]:
        weights[key] = _select_rows(weights[key], rows, initial[key])
    if weights:
        _load_weights(source, classifier, weights)


def _select_rows(table: Tensor, rows: Sequence[int | None], initial: Tensor) -> Tensor:
    """Return these rows of a table, and the initial row where there is none."""
    return torch.stack([initial[i] if row is None else table[row].to(initial) for i, row in enumerate(rows)])


def _load_weights(
    source: WarmStart, network: nn.Module, weights: Mapping[str, Tensor], left: Sequence[Tensor] = ()
) -> None:
    """Load a network's weights, but those to be left as they are."""
    ids = {id(weight) for weight in left}
    stay = {name for name, weight in network.named_parameters() if id(weight) in ids}
    state = {key: value for key, value in network.state_dict().items() if key not in stay}
    learned = {key: value for key, value in state.items() if value.is_floating_point()}
    wrong = [key for key, value in learned.items() if key not in weights or weights[key].shape != value.shape]
    if wrong:
        raise ModelError(f"--from {source.name}", f"its {wrong[0]} does not fit", "Train without --from.")
    network.load_state_dict({key: weights[key].to(value) for key, value in learned.items()}, strict=False)


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    try:
        return {key: value for path in sorted(folder.glob("*.safetensors")) for key, value in load_file(path).items()}
    except (OSError, SafetensorError) as problem:
        raise ModelError(str(folder), f"unreadable ({problem})", "Restore it.") from problem
