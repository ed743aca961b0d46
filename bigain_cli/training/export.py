"""A trained backbone as a diffusers folder: weights, a model card for programs, and a README.md made from it.

All parts are written to a new folder and then moved into place, `model_index.json` last.
"""

from __future__ import annotations

import copy
import json
import platform
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from bigain_cli.backbones.diffusers_folder import quiet
from bigain_cli.backbones.model_card import CARD_FILE, ModelCard
from bigain_cli.errors import BigainError
from bigain_cli.outputs.shield import SHIELD
from bigain_cli.outputs.text import counted
from bigain_cli.training.networks import SCHEDULE, TrainableUNet
from bigain_cli.training.output_folder import INDEX, NEW, PARTS, README
from bigain_cli.training.training_loop import Training
from bigain_cli.training.validation import Validation


def training_facts(source: str, training: Training, validation: Validation | None) -> dict[str, Any]:
    """Return what a model card records of a training."""
    facts: dict[str, Any] = {
        "data": source,
        "pictures": len(training.labels),
        "shown": training.step * training.recipe.batch,
        "parameters": sum(weight.numel() for weight in training.weights),
        "recipe": training.recipe.to_dict(),
        "device": _device_name(training.device),
        "torch": torch.__version__,
        "minutes": round(training.seconds / 60, 1),
    }
    if training.start is not None:
        facts["start"] = training.start
    if validation is not None:
        counts = {"right": validation.correct, "of": validation.count, "draws": validation.draws}
        facts["held_out"] = {**counts, "text": str(validation)}
    return facts


def write_backbone(folder: Path, training: Training, card: ModelCard) -> None:
    """Write everything that `-m FOLDER` and diffusers need, with the averaged weights."""
    new = folder / NEW
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        _write_parts(new, training, card)
        (new / CARD_FILE).write_text(card.to_json(), encoding="utf-8")
        (new / README).write_text(_readme(folder.absolute().name, card), encoding="utf-8")
        _replace_parts(new, folder)
    except (OSError, SafetensorError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise BigainError(str(folder), f"cannot be written ({why})", "Check the disk.") from problem
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _write_parts(folder: Path, training: Training, card: ModelCard) -> None:
    from diffusers import DDIMScheduler

    trainable, weights = training.trainable, training.averaged()
    with quiet():
        if isinstance(trainable, TrainableUNet):
            _save_network(trainable.network, weights, "network.", folder / "unet")
            _save_network(trainable.text_encoder, weights, "text_encoder.", folder / "text_encoder")
            _save_tokenizer(trainable.tokenizer, folder / "tokenizer")
            index: dict[str, Any] = {
                "_class_name": "StableDiffusionPipeline",
                "unet": ["diffusers", "UNet2DConditionModel"],
                "text_encoder": ["transformers", "CLIPTextModel"],
                "tokenizer": ["transformers", "CLIPTokenizer"],
            }
        else:
            _save_network(trainable.network, weights, "network.", folder / "transformer")
            index = {
                "_class_name": "DiTPipeline",
                "transformer": ["diffusers", "DiTTransformer2DModel"],
                "id2label": {str(number): ", ".join(names) for number, names in enumerate(card.classes.values())},
            }
        index["scheduler"] = ["diffusers", "DDIMScheduler"]
        scheduler: Any = DDIMScheduler(**SCHEDULE, prediction_type=training.recipe.prediction, clip_sample=True)
        scheduler.save_pretrained(folder / "scheduler")
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _save_network(network: Any, weights: Mapping[str, Tensor], prefix: str, folder: Path) -> None:
    """Save a copy of a network with other weights, in float16."""
    chosen = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    averaged = copy.deepcopy(network).cpu()
    averaged.load_state_dict({name: value.detach().cpu() for name, value in chosen.items()}, strict=False)
    averaged.half().save_pretrained(folder, safe_serialization=True)
    config = folder / "config.json"
    for file in folder.glob("*.safetensors"):  # which safetensors makes readable for their owner only
        shutil.copymode(config, file)
    content = json.loads(config.read_text(encoding="utf-8"))
    content.pop("_name_or_path", None)
    config.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    try:
        tokenizer.save_pretrained(folder)
    except OSError:
        raise
    except Exception as problem:  # tokenizers raises nothing narrower when the disk is full
        raise OSError(str(problem)) from problem


def _replace_parts(new: Path, folder: Path) -> None:
    """Move the new parts into the place of the old ones; meanwhile the folder has no index and is no model."""
    names = sorted((path.name for path in new.iterdir()), key=lambda name: name == INDEX)
    stale = [name for name in PARTS if name not in names]  # of another architecture
    try:
        with SHIELD:
            _move_parts(new, folder, names, stale)
    except KeyboardInterrupt:
        _move_parts(new, folder, names, stale)  # the rest takes milliseconds, and half a model cannot be loaded
        raise


def _move_parts(new: Path, folder: Path, names: list[str], stale: list[str]) -> None:
    remaining = [name for name in names if (new / name).exists()]
    if INDEX in remaining:
        (folder / INDEX).unlink(missing_ok=True)
    for name in (*stale, *remaining):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        if name in remaining:
            (new / name).replace(folder / name)


def _readme(name: str, card: ModelCard) -> str:
    facts = card.about
    recipe = facts["recipe"]
    kind = "text-conditioned U-Net" if recipe["arch"] == "unet" else "label-conditioned DiT"
    classes = "\n".join(f"- {_escape(', '.join(names))}" for names in card.classes.values())
    start = _start_line(facts["start"]) if "start" in facts else ""
    accuracy = facts.get("held_out", {}).get("text", "not measured yet")
    return f"""# {_escape(name)}

A {kind} of {facts["parameters"] / 1e6:.1f} M parameters for images of {recipe["size"]}×{recipe["size"]} pixels,
trained with `bigain train`. Load it with `bigain classify … -m {name}`, or with diffusers.

- Data: {_escape(facts["data"])}, {facts["pictures"]:,} images.
- Training: {_effort_text(facts)}.
- Accuracy: {accuracy}.
{_contrast_text(facts)}- Recipe: {_recipe_text(recipe)}.{start}

It knows these classes, by these names, and nothing else:

{classes}

Use it as a demonstration and a test bench on images like those it was trained on.
"""


def _effort_text(facts: Mapping[str, Any]) -> str:
    """Say how many images were shown in how many minutes: in the last training, and in all that it goes back to."""
    last = f"{facts['shown']:,} images in {facts['minutes']} minutes on {facts['device']}, torch {facts['torch']}"
    trainings = _trainings(facts)
    if len(trainings) == 1:
        return f"{last}, repetitions counted"
    images, minutes = (sum(each.get(key, 0) for each in trainings) for key in ("shown", "minutes"))
    whole = f"{images:,} images, repetitions counted, in {round(minutes, 1):g} minutes and {len(trainings)} trainings"
    return f"{whole}; the last had {last}"


def _trainings(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the facts of a training, and of all that it goes back to."""
    found = [facts]
    while "start" in found[-1]:
        found.append(found[-1]["start"])
    return found


def _contrast_text(facts: Mapping[str, Any]) -> str:
    """Say what it means that labels were compared, and what a plain diffusion model reached, if that was measured."""
    if not any(each.get("recipe", {}).get("contrast") for each in _trainings(facts)):
        return ""
    plain = f" {_escape(facts['plain'])}" if facts.get("plain") else ""
    return (
        "- Labels were compared in training (`contrast`): the network was trained to predict noise better for\n"
        "  the right label than for wrong ones. A plain diffusion model is trained to predict noise under the right\n"
        f"  label alone.{plain}\n"
    )


def _start_line(start: Mapping[str, Any]) -> str:
    """Return a line about the backbone that a training started from, and one for each before it."""
    images, minutes = f"{start.get('shown', 0):,} images", f"{start.get('minutes', 0)} minutes"
    effort = (
        f"{images} of {_escape(start.get('data', 'unknown data'))} in {minutes} on {start.get('device', 'a device')}"
    )
    earlier = _start_line(start["start"]) if "start" in start else ""
    return f"\n- Started from {_escape(start['model'])}: {effort}; {_recipe_text(start.get('recipe', {}))}.{earlier}"


def _recipe_text(recipe: Mapping[str, Any]) -> str:
    """Return the keys and values of a recipe; only a transformer has a depth."""
    return ", ".join(f"{key} {value}" for key, value in recipe.items() if key != "depth" or recipe["arch"] == "dit")


def _escape(text: str) -> str:
    """Escape what Markdown, or HTML in it, would read as markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", text)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = counted(torch.get_num_threads(), "thread")
    return f"{threads} of a {platform.machine()} CPU" if device.type == "cpu" else device.type
