"""What is known about a trained backbone, as data and as a page for people."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from typing import Any

import torch

from bigain_cli.backbones.vocabulary import PromptVocabulary
from bigain_cli.outputs.text import counted
from bigain_cli.training.training_loop import Training
from bigain_cli.training.validation import Validation


def describe(source: str, training: Training, validation: Validation | None) -> dict[str, Any]:
    """Return the facts of a training."""
    facts: dict[str, Any] = {
        "data": source,
        "pictures": len(training.labels),
        "shown": training.step * training.recipe.batch,
        "parameters": sum(weight.numel() for weight in training.weights),
        "recipe": training.recipe.to_dict(),
        "device": _device(training.device),
        "torch": torch.__version__,
        "minutes": round(training.seconds / 60, 1),
    }
    if training.start is not None:
        facts["start"] = training.start
    if validation is not None:
        counts = {"right": validation.right, "of": validation.count, "draws": validation.draws}
        facts["held_out"] = {**counts, "text": str(validation)}
    return facts


def card_of(name: str, phrases: PromptVocabulary, facts: Mapping[str, Any]) -> str:
    """Return the model card."""
    recipe = facts["recipe"]
    kind = "text-conditioned U-Net" if recipe["arch"] == "unet" else "label-conditioned DiT"
    words = "\n".join(f"- {_escaped(', '.join(words))}" for words in phrases.classes.values())
    begun = _begun(facts["start"]) if "start" in facts else ""
    accuracy = facts.get("held_out", {}).get("text", "not measured yet")
    return f"""# {_escaped(name)}

A {kind} of {facts["parameters"] / 1e6:.1f} M parameters for images of {recipe["size"]}×{recipe["size"]} pixels,
trained with `bigain train`. Load it with `bigain classify … -m {name}`, or with diffusers.

- Data: {_escaped(facts["data"])}, {facts["pictures"]:,} images; trained on {facts["shown"]:,}, repetitions counted.
- Device: {facts["device"]}, torch {facts["torch"]}, {facts["minutes"]} minutes.
- Accuracy: {accuracy}.
- Recipe: {_settings(recipe)}.{begun}

It knows these classes, by these names, and nothing else:

{words}

Use it as a demonstration and a test bench on images like those it was trained on.
"""


def _begun(start: Mapping[str, Any]) -> str:
    """Return a line on the backbone that a training started from."""
    effort = (
        f"{start.get('shown', 0):,} images in {start.get('minutes', 0)} minutes on {start.get('device', 'a device')}"
    )
    earlier = _begun(start["start"]) if "start" in start else ""
    return f"\n- Started from {_escaped(start['model'])}: {effort}; {_settings(start.get('recipe', {}))}.{earlier}"


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
