"""What `bigain train` reaches in the time there is: first its speed is measured, then it gets as many images as fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpu_steps.steps import TRAIN, VAL, Plan

START = 25.0  # seconds to start, to read the images and to write the model, taken off both runs
SHARE = 0.85  # of the time that is planned for
FEW = 20_000  # images to measure the speed with
MOST_BYTES = 16_000_000


def train_and_evaluate(plan: Plan, seconds: float) -> dict[str, Any]:
    """Return the images a second, the accuracy at the end with its interval, and the size of the model."""
    end = time.monotonic() + SHARE * seconds
    toy, cuda = plan.toy or plan.data is None, plan.device != "cpu"
    data = (plan.photos, "0.3") if plan.toy or plan.data is None else (plan.data / TRAIN, str(plan.data / VAL))
    size = ("--width", "16", "--batch", "8") if toy else ("--batch", "256" if cuda else "64")
    fixed = ("--held-out", data[1], *size, "--validation", "4" if toy else "0", "--device", plan.device)
    fixed += ("--precision", "bfloat16") if cuda else ()
    few = 8 if toy else FEW
    took = _train(data[0], plan.folder / "speed-model", few, fixed)
    per_second = few / max(took - (0 if toy else START), 1.0)
    images = 16 if toy else max(few, int(per_second * (end - time.monotonic() - START)) // 256 * 256)
    took = _train(data[0], plan.model, images, fixed)
    shutil.rmtree(plan.folder / "speed-model")
    found = {
        "images": images,
        "seconds": round(took, 1),
        "images_per_second": round(images / took, 1),
        "bytes": sum(
            path.stat().st_size for path in plan.model.rglob("*.safetensors") if "checkpoint" not in path.name
        ),
    }
    found["fits"] = found["bytes"] <= MOST_BYTES
    if not toy:
        found["top1"] = _accuracy(plan)
    return found


def _train(data: Path, folder: Path, images: int, fixed: tuple[str, ...]) -> float:
    """Train a model; return the seconds."""
    began = time.monotonic()
    size = ("--images", str(images), "--every", str(images), "-o", str(folder), "--force", "-q")
    subprocess.run([sys.executable, "-m", "bigain_cli", "train", str(data), *size, *fixed], check=True)
    return time.monotonic() - began


def _accuracy(plan: Plan) -> dict[str, float]:
    """Return the accuracy on 500 validation images."""
    assert plan.data is not None
    command = ("evaluate", str(plan.data / VAL), "-m", str(plan.model), "--limit", "500", "-c", "none", "--json", "-q")
    done = subprocess.run(
        [sys.executable, "-m", "bigain_cli", *command, "--device", plan.device], check=True, capture_output=True
    )
    found: dict[str, float] = json.loads(done.stdout)["specs"]["none"]["top1"]
    return found
