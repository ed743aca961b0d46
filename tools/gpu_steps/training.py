"""What `bigain train` reaches in the time there is: its pace is measured, then it gets as many images as fit.

The trainings follow each other: each starts where the one before ended. Those of the U-Net are the first and
the last of the six that made `mini-late`, with larger batches.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bigain
import torch

from bigain_cli.training.image_tensors import LabelledImages, load_images
from bigain_cli.training.job import TrainingProgress, read_synonyms
from bigain_cli.training.recipe import Recipe, load_recipe
from gpu_steps.queue import tell
from gpu_steps.steps import ROOT, TRAIN, VAL, Plan

RECIPES, SYNONYMS = ROOT / "docs" / "training", ROOT / "prompts" / "cifar10-synonyms.json"
SHARE = 0.85  # of the time that is planned for; the accuracy is measured in the rest
PACE_STEPS = 150  # of a training that measures the pace
CAUTION = 0.9  # of the pace that is reckoned with
MOST_BYTES = 16_000_000


@dataclass(frozen=True)
class Part:
    """One of the trainings that follow each other."""

    name: str  # of its recipe
    batch: int
    share: float  # of the time


PARTS = {
    "training": (Part("late-see", 512, 0.35), Part("late-whole-2", 256, 0.65)),
    "training-dit": (Part("dit-see", 512, 0.4), Part("dit-compare", 256, 0.6)),
}


def train_late(plan: Plan, seconds: float) -> dict[str, Any]:
    """Return what the first and the last training of `mini-late` reach."""
    return _train_and_evaluate(plan, "training", plan.model, seconds)


def train_dit(plan: Plan, seconds: float) -> dict[str, Any]:
    """Return what the trainings of a transformer with late labels reach."""
    return _train_and_evaluate(plan, "training-dit", plan.dit, seconds)


def _train_and_evaluate(plan: Plan, step: str, model: Path, seconds: float) -> dict[str, Any]:
    """Return the images of each training and how many a second; the accuracy at the end, and the model's size."""
    end = time.monotonic() + SHARE * seconds
    torch.set_float32_matmul_precision("high")  # TF32, as convolutions have it by default
    images = load_images(str(plan.images if plan.toy else plan.images / TRAIN), 32)
    found: dict[str, Any] = {}
    start, parts = "", PARTS[step]
    for number, part in enumerate(parts):
        share = part.share / sum(each.share for each in parts[number:])
        until = time.monotonic() + share * (end - time.monotonic())
        folder = model if part is parts[-1] else model.with_name(f"{model.name}-{part.name}")
        found[part.name] = _train(plan, part, images, folder, start, until)
        start = str(folder)
        tell(found)
    found["bytes"] = sum(path.stat().st_size for path in model.rglob("*.safetensors") if "checkpoint" not in path.name)
    found["fits"] = found["bytes"] <= MOST_BYTES
    if not plan.toy:
        tell(found)
        found["top1"] = _accuracy(plan, model)
    return found


def _train(plan: Plan, part: Part, images: LabelledImages, folder: Path, start: str, until: float) -> dict[str, Any]:
    """Train until a moment; return how many images that were, and how many a second."""
    began = time.monotonic()
    recipe = _recipe(plan, part)
    few = (2 if plan.toy else PACE_STEPS) * recipe.batch
    trial_folder = folder.with_name(f"{folder.name}-pace")
    trial = dataclasses.replace(recipe, images=few, contrast_from=0.0)
    pace = CAUTION * _run(plan, trial, images, trial_folder, start, checkpoints=1)
    shutil.rmtree(trial_folder)
    count = 2 * recipe.batch if plan.toy else max(recipe.batch, int(pace * (until - time.monotonic())))
    _run(plan, dataclasses.replace(recipe, images=count), images, folder, start)
    return {"images": count, "images_per_second": round(pace, 1), "seconds": round(time.monotonic() - began, 1)}


def _recipe(plan: Plan, part: Part) -> Recipe:
    """Return the recipe of a part for this device."""
    recipe = load_recipe(str(RECIPES / f"{part.name}.toml"), {})
    if plan.toy:
        return dataclasses.replace(recipe, batch=8, width=16, images=16)
    warmup = recipe.warmup * part.batch // recipe.batch  # as many steps
    if recipe.classifier_first:  # to its end, because what follows takes more time an image
        recipe = dataclasses.replace(recipe, classifier_first=0.99, contrast_from=0.995)
    return dataclasses.replace(recipe, batch=part.batch, warmup=warmup)


def _run(plan: Plan, recipe: Recipe, images: LabelledImages, folder: Path, start: str, checkpoints: int = 4) -> float:
    """Train, and return the highest pace that was reported; the first steps are slower, and steps of another loss."""
    synonyms = {} if plan.toy else read_synonyms(str(SYNONYMS))
    every = max(1, recipe.images // checkpoints)  # several, so that a training that is ended leaves a model
    job = bigain.TrainingJob(
        recipe, images, folder, None, synonyms, device=plan.device, every=every, previews=False, start=start
    )
    pace = 0.0
    for event in bigain.train(job, replace=folder.exists()):
        if isinstance(event, TrainingProgress):
            pace = max(pace, event.pace)
            sys.stderr.write(f"{folder.name}: {event.images} images, {event}\n")
    return pace


def _accuracy(plan: Plan, model: Path) -> dict[str, float]:
    """Return the accuracy on 1,000 validation images."""
    assert plan.data is not None
    size = ("--limit", "1000", "--schedule", "fixed", "--draws", "16")
    command = ("evaluate", str(plan.data / VAL), "-m", str(model), *size, "-c", "none", "--json", "-q")
    done = subprocess.run(
        [sys.executable, "-m", "bigain_cli", *command, "--device", plan.device], check=True, capture_output=True
    )
    found: dict[str, float] = json.loads(done.stdout)["specs"]["none"]["top1"]
    return found
