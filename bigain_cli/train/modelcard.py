"""What is to be known about a trained backbone, as data and as a page for people."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from typing import Any

import torch

from bigain_cli.backbones.phrases import Phrases
from bigain_cli.outputs.text import counted
from bigain_cli.train.exam import Mark
from bigain_cli.train.loop import Training
from bigain_cli.train.recipe import Recipe


def describe(recipe: Recipe, source: str, count: int, training: Training, mark: Mark | None) -> dict[str, Any]:
    """Return the facts of a training."""
    parameters = sum(weight.numel() for weight in training.weights)
    facts: dict[str, Any] = {
        "data": source,
        "pictures": count,
        "shown": training.step * recipe.batch,
        "parameters": parameters,
        "recipe": recipe.to_dict(),
        "device": _device(training.device),
        "torch": torch.__version__,
        "minutes": round(training.seconds / 60, 1),
    }
    if training.start is not None:
        facts["start"] = training.start
    if mark is not None:
        facts["held_out"] = {"right": mark.right, "of": mark.count, "draws": mark.draws, "text": str(mark)}
    return facts


def card_of(name: str, phrases: Phrases, facts: Mapping[str, Any]) -> str:
    """Return the model card."""
    recipe = facts["recipe"]
    kind = "text-conditioned U-Net" if recipe["arch"] == "unet" else "label-conditioned DiT"
    words = "\n".join(f"- {_escaped(', '.join(words))}" for words in phrases.classes.values())
    begun = _begun(facts["start"]) if "start" in facts else ""
    accuracy = facts.get("held_out", {}).get("text", "not measured yet")
    return f"""# {_escaped(name)}

A {kind} of {facts["parameters"] / 1e6:.1f} M parameters for pictures of {recipe["size"]}×{recipe["size"]} pixels,
trained with `bigain train`. Load it with `bigain classify … -m {name}`, or with diffusers.

- Data: {_escaped(facts["data"])}, {facts["pictures"]:,} pictures; {facts["shown"]:,} shown.
- Device: {facts["device"]}, torch {facts["torch"]}, {facts["minutes"]} minutes.
- Accuracy: {accuracy}.
- Recipe: {_settings(recipe)}.{begun}

It knows these classes, by these names, and nothing else:

{words}

Use it as a demonstration and a test bench on pictures like those it was trained on.
"""


def _begun(start: Mapping[str, Any]) -> str:
    """Return a line on the backbone that a training began from."""
    told = (
        f"{start.get('shown', 0):,} pictures in {start.get('minutes', 0)} minutes on {start.get('device', 'a device')}"
    )
    earlier = _begun(start["start"]) if "start" in start else ""
    return f"\n- Began from {_escaped(start['model'])}: {told}; {_settings(start.get('recipe', {}))}.{earlier}"


def _settings(recipe: Mapping[str, Any]) -> str:
    """Write a recipe; the depth is a transformer's."""
    return ", ".join(f"{key} {value}" for key, value in recipe.items() if key != "depth" or recipe["arch"] == "dit")


def _escaped(text: str) -> str:
    """Keep a name from being read as Markdown, or as HTML in it."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", text)


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = counted(torch.get_num_threads(), "thread")
    return f"{threads} of a {platform.machine()} CPU" if device.type == "cpu" else device.type
