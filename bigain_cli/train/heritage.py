"""Weights to begin from instead of chance: another trained backbone's.

The network's shape must be the same. What classes and words share by name keeps what it was taught; new ones begin
by chance. Must not know the training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bigain_cli.backbones.card import Card
from bigain_cli.errors import ModelError, UsageError
from bigain_cli.models import resolve
from bigain_cli.train.networks import Learner, TextLearner

OPTIONS = {  # by what a network's configuration calls them
    "sample_size": "--size or --patch",
    "in_channels": "--patch",
    "patch_size": "--patch",
    "block_out_channels": "--width",
    "num_attention_heads": "--width",
    "num_layers": "--depth",
}
CLASS_TABLE = "class_embedder.embedding_table.weight"


@dataclass(frozen=True)
class Heritage:
    """A backbone to begin from."""

    name: str
    folder: Path
    card: Card
    mark: str  # of its weights

    def about(self) -> dict[str, Any]:
        """Return what is to be known about it, in plain values."""
        kept = ("data", "shown", "minutes", "device", "recipe", "start")
        return {"model": self.name, "weights": self.mark, **{k: v for k, v in self.card.about.items() if k in kept}}


def heritage(name: str) -> Heritage:
    """Find a backbone to begin from; it must be one that `bigain train` has made."""
    reference = resolve(name)
    folder = Path(reference.where)
    card = Card.read(folder) if reference.kind == "folder" else Card()
    if "recipe" not in card.about:
        raise UsageError(f"--from {name}", "not a backbone made by bigain train", "Train one, or leave --from out.")
    mark = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.glob("*/*.safetensors")):
        mark.update(path.read_bytes())
    return Heritage(name, folder, card, mark.hexdigest())


def bequeath(source: Heritage, learner: Learner, classes: Sequence[str]) -> None:
    """Give a learner the weights of a backbone, where their names are the same."""
    part = "unet" if isinstance(learner, TextLearner) else "transformer"
    folder = source.folder / part
    if not folder.is_dir():
        other = "dit" if part == "unet" else "unet"
        raise UsageError(f"--from {source.name}", f"is a {other}, and this training is not", f"Add --arch {other}.")
    _refuse_other(source, folder, learner.network.config)
    with torch.no_grad():
        if isinstance(learner, TextLearner):
            _fill(source, learner.network, _tensors(folder))
            _fill_text(source, learner)
        else:
            weights = _tensors(folder)
            names = list(source.card.classes)
            old = [*(names.index(name) if name in names else None for name in classes), len(names)]
            for key in [key for key in weights if key.endswith(CLASS_TABLE)]:
                weights[key] = _rows(weights[key], learner.network.state_dict()[key], old)
            _fill(source, learner.network, weights)


def _refuse_other(source: Heritage, folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a network of another shape, by the option that would make it the same."""
    theirs = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key, option in OPTIONS.items():
        mine = config.get(key)
        mine = list(mine) if isinstance(mine, tuple) else mine
        if theirs.get(key) != mine:
            hint = "Give the shape that it was trained with; `bigain list models -v` and its README.md tell it."
            raise UsageError(
                f"--from {source.name}", f"has another {key} ({theirs.get(key)}, not {mine}): {option}", hint
            )


def _fill_text(source: Heritage, learner: TextLearner) -> None:
    """Give a text encoder what another knows: every word by its name, the rest as far as the sentences are long."""
    weights = _tensors(source.folder / "text_encoder")
    content = json.loads((source.folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    known: dict[str, int] = content["model"]["vocab"]
    vocabulary: dict[str, int] = learner.tokenizer.get_vocab()
    mine = learner.text_encoder.state_dict()
    words = sorted(vocabulary, key=lambda word: vocabulary[word])
    places = next(key for key in mine if key.endswith("position_embedding.weight"))
    tokens = next(key for key in mine if key.endswith("token_embedding.weight"))
    weights[tokens] = _rows(weights[tokens], mine[tokens], [known.get(word) for word in words])
    count = len(weights[places])
    weights[places] = _rows(weights[places], mine[places], [n if n < count else None for n in range(len(mine[places]))])
    _fill(source, learner.text_encoder, weights)


def _rows(theirs: Tensor, mine: Tensor, old: Sequence[int | None]) -> Tensor:
    """Return a table with rows of another, or of its own where that has none."""
    rows = [mine[row] if other is None else theirs[other].to(mine) for row, other in enumerate(old)]
    return torch.stack(rows)


def _fill(source: Heritage, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    mine = network.state_dict()
    wrong = [key for key, value in _learned(mine) if key not in weights or weights[key].shape != value.shape]
    if wrong:
        raise ModelError(f"--from {source.name}", f"its {wrong[0]} does not fit", "Train anew, without --from.")
    network.load_state_dict({key: weights[key].to(value) for key, value in _learned(mine)}, strict=False)


def _learned(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((key, value) for key, value in state.items() if value.is_floating_point())


def _tensors(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return {key: value for path in sorted(folder.glob("*.safetensors")) for key, value in load_file(path).items()}
    except Exception as problem:  # its library has no narrower name for a torn file
        raise ModelError(str(folder), f"unreadable ({problem})", "Restore it.") from problem
