"""Every verb of the command on the embedded model, once: its exit code and its seconds."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from gpu_steps.queue import tell
from gpu_steps.steps import Plan

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def every_verb(plan: Plan, seconds: float) -> dict[str, Any]:
    """Run the verbs, each on what the ones before have written; raise if any failed."""
    end, found = time.monotonic() + seconds, {}
    plan.photos.mkdir(parents=True, exist_ok=True)
    for name, arguments in _commands(plan).items():
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "bigain_cli", *arguments],
            capture_output=True,
            text=True,
            timeout=max(end - began, 1),
            cwd=plan.folder,
        )
        found[name] = {"code": done.returncode, "seconds": round(time.monotonic() - began, 1)}
        tell(found)
        if done.returncode:
            sys.stderr.write(f"{' '.join(arguments)}\n{done.stderr[-2000:]}\n")
        if name == "generate":
            _sort(plan)
    if failed := [name for name, each in found.items() if each["code"]]:
        raise SystemExit(f"failed: {', '.join(failed)}")
    return found


def _commands(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return a command line for each verb."""
    few = ("--steps", "2") if plan.toy else ()
    draws = ("--draws", "2" if plan.toy else "16")
    place = ("--device", plan.device, "-q", "--force")
    limit = ("--limit", "2") if plan.toy else ()
    classes = CLASSES[:3] if plan.toy else CLASSES
    tiny = ("--images", "16", "--batch", "8", "--width", "16", "--validation", "4", "--every", "16")
    return {
        "generate": ("generate", *classes, "-n", "2", *few, "-o", "generated/", *place),
        "classify": ("classify", "photos", "-r", "-o", "answers.jsonl", *draws, *place),
        "compressed": ("classify", "photos", "-r", "-o", "compressed.jsonl", "-c", "lgtm:0.7+iekvd:2", *draws, *place),
        "evaluate": ("evaluate", "photos", "-o", "evaluated.json", "-c", "tome:0.5", *limit, *draws, *place),
        "inspect": ("inspect", f"photos/{classes[0]}/{classes[0]}-0.png", "-c", "lgtm:0.5", "-o", "inspected", *place),
        "bench": ("bench", "--rounds", "1", "--labels", "2", "--draws", "2", "-o", "bench.json", *place),
        "train": ("train", "photos", "-o", "smoke-model", *tiny, *place),
    }


def _sort(plan: Plan) -> None:
    """Put what was generated into a folder for each class, as a dataset."""
    for path in sorted((plan.folder / "generated").glob("*.png")):
        place = plan.photos / path.name.split("-")[0]
        place.mkdir(exist_ok=True)
        path.replace(place / path.name)
