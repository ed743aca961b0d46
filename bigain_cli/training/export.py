"""A trained trainable as a diffusers folder: safetensors, a card for the machine and one for people.

Parts are written beside the old ones and swapped at the end, `model_index.json` last. Must not know the training.
"""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from bigain_cli.backbones.base import NoiseSchedule, noise_schedule
from bigain_cli.backbones.diffusers_folder import quiet
from bigain_cli.backbones.model_card import CARD_FILE, ModelCard
from bigain_cli.backbones.vocabulary import PromptVocabulary
from bigain_cli.errors import BigainError
from bigain_cli.training.networks import TrainableBackbone, TrainableUNet
from bigain_cli.training.output_folder import FRESH, INDEX, PARTS, README
from bigain_cli.training.recipe import Recipe

SCHEDULE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "epsilon"}


def make_process(device: torch.device) -> NoiseSchedule:
    """Return the forward process that all trained backbones share."""
    return noise_schedule({"_class_name": "DDIMScheduler", "beta_start": 0.0001, **SCHEDULE}, device)


def write_backbone(
    folder: Path,
    trainable: TrainableBackbone,
    weights: Mapping[str, Tensor],
    recipe: Recipe,
    phrases: PromptVocabulary,
    card: ModelCard,
    text: str,
) -> None:
    """Write everything that `-m FOLDER` and diffusers need."""
    fresh = folder / FRESH
    shutil.rmtree(fresh, ignore_errors=True)
    with _explained(folder):
        fresh.mkdir(parents=True)
        try:
            _write(fresh, trainable, weights, recipe, phrases)
            (fresh / CARD_FILE).write_text(card.to_json(), encoding="utf-8")
            (fresh / README).write_text(text, encoding="utf-8")
            _exchange(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _write(
    folder: Path, trainable: TrainableBackbone, weights: Mapping[str, Tensor], recipe: Recipe, phrases: PromptVocabulary
) -> None:
    from diffusers import DDIMScheduler

    with quiet():
        if isinstance(trainable, TrainableUNet):
            _save(trainable.network, weights, "network.", folder / "unet")
            _save(trainable.text_encoder, weights, "text_encoder.", folder / "text_encoder")
            _save_tokenizer(trainable.tokenizer, folder / "tokenizer")
            index: dict[str, Any] = {
                "_class_name": "StableDiffusionPipeline",
                "unet": ["diffusers", "UNet2DConditionModel"],
                "text_encoder": ["transformers", "CLIPTextModel"],
                "tokenizer": ["transformers", "CLIPTokenizer"],
            }
        else:
            _save(trainable.network, weights, "network.", folder / "transformer")
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
    """Save a network with other weights than it has now, in float16; the network itself stays as it is."""
    chosen = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    other = copy.deepcopy(module).cpu()
    other.load_state_dict({name: value.detach().cpu() for name, value in chosen.items()}, strict=False)
    other.half().save_pretrained(folder, safe_serialization=True)
    config = folder / "config.json"
    for file in folder.glob("*.safetensors"):  # which its library makes for the owner's eyes only
        shutil.copymode(config, file)
    content = json.loads(config.read_text(encoding="utf-8"))
    content.pop("_name_or_path", None)
    config.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    try:
        tokenizer.save_pretrained(folder)
    except OSError:
        raise
    except Exception as problem:  # its library has no narrower name for a full disk
        raise OSError(str(problem)) from problem


def _exchange(fresh: Path, folder: Path) -> None:
    """Put the new parts in the place of the old; in between the folder has no index and is no model."""
    names = sorted((path.name for path in fresh.iterdir()), key=lambda name: name == INDEX)
    stale = [name for name in PARTS if name not in names]  # of another architecture
    try:
        _move(fresh, folder, names, stale)
    except KeyboardInterrupt:
        _move(fresh, folder, names, stale)  # what is left takes milliseconds, and half a model is none
        raise


def _move(fresh: Path, folder: Path, names: list[str], stale: list[str]) -> None:
    waiting = [name for name in names if (fresh / name).exists()]
    if INDEX in waiting:
        (folder / INDEX).unlink(missing_ok=True)
    for name in (*stale, *waiting):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        if name in waiting:
            (fresh / name).replace(folder / name)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise BigainError(str(folder), f"cannot be written ({why})", "Check the disk.") from problem
