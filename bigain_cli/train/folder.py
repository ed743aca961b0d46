"""A trained learner as a diffusers folder: safetensors, a card for the machine and one for people.

Parts are written beside the old ones and exchanged at the end, `model_index.json` last. Must not know the training.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bigain_cli.backbones.base import Process, process_of
from bigain_cli.backbones.card import FILE, Card
from bigain_cli.backbones.parts import quiet
from bigain_cli.backbones.phrases import Phrases
from bigain_cli.errors import BigainError
from bigain_cli.train.networks import Learner, TextLearner
from bigain_cli.train.recipe import Recipe

SCHEDULE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "epsilon"}
INDEX = "model_index.json"
README = "README.md"


def make_process(device: torch.device) -> Process:
    """Return the forward process that all trained backbones share."""
    return process_of({"_class_name": "DDIMScheduler", "beta_start": 0.0001, **SCHEDULE}, device)


def write_backbone(
    folder: Path,
    learner: Learner,
    weights: Mapping[str, Tensor],
    recipe: Recipe,
    phrases: Phrases,
    card: Card,
    text: str,
) -> None:
    """Write everything that `-m FOLDER` and diffusers need."""
    fresh = folder / ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    with _explained(folder):
        fresh.mkdir(parents=True)
        try:
            _write(fresh, learner, weights, recipe, phrases)
            (fresh / FILE).write_text(card.to_json(), encoding="utf-8")
            (fresh / README).write_text(text, encoding="utf-8")
            _exchange(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _write(folder: Path, learner: Learner, weights: Mapping[str, Tensor], recipe: Recipe, phrases: Phrases) -> None:
    from diffusers import DDIMScheduler

    with quiet():
        if isinstance(learner, TextLearner):
            _save(learner.network, weights, "network.", folder / "unet")
            _save(learner.text_encoder, weights, "text_encoder.", folder / "text_encoder")
            learner.tokenizer.save_pretrained(folder / "tokenizer")
            index: dict[str, Any] = {
                "_class_name": "StableDiffusionPipeline",
                "unet": ["diffusers", "UNet2DConditionModel"],
                "text_encoder": ["transformers", "CLIPTextModel"],
                "tokenizer": ["transformers", "CLIPTokenizer"],
            }
        else:
            _save(learner.network, weights, "network.", folder / "transformer")
            names = {str(number): ", ".join(words) for number, words in enumerate(phrases.classes.values())}
            index = {
                "_class_name": "DiTPipeline",
                "transformer": ["diffusers", "DiTTransformer2DModel"],
                "id2label": names,
            }
        index["scheduler"] = ["diffusers", "DDIMScheduler"]
        scheduler: Any = DDIMScheduler(**SCHEDULE, clip_sample=True)
        scheduler.save_pretrained(folder / "scheduler")
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _save(module: Any, weights: Mapping[str, Tensor], prefix: str, folder: Path) -> None:
    """Save a network with other weights than it has now, in float16."""
    chosen = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    buffers = {name: value for name, value in module.state_dict().items() if name not in chosen}
    state = {name: value.detach().to("cpu", torch.float16) for name, value in {**buffers, **chosen}.items()}
    module.save_pretrained(folder, state_dict=state, safe_serialization=True)
    config = folder / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content.pop("_name_or_path", None)
    config.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _exchange(fresh: Path, folder: Path) -> None:
    """Put the new parts in the place of the old; in between the folder has no index and is no model."""
    (folder / INDEX).unlink(missing_ok=True)
    names = sorted((path.name for path in fresh.iterdir()), key=lambda name: name == INDEX)
    for name in names:
        old = folder / name
        if old.is_dir():
            shutil.rmtree(old)
        (fresh / name).replace(old)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise BigainError(
            str(folder), f"cannot be written ({problem.strerror or problem})", "Check the disk."
        ) from problem
