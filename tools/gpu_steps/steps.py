"""The steps, in order of worth: what they are called, what they run, and how long they may take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gpu_steps.queue import Step

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "gpu_report.py"
CHECKS = {  # steps that are functions: of the plan and the seconds there are, to what goes into the results
    "machine": "gpu_steps.machine:describe",
    "smoke": "gpu_steps.smoke:every_verb",
    "answers": "gpu_steps.answers:compare_answers",
    "doubts": "gpu_steps.doubts:check_doubts",
    "rivals": "gpu_steps.rivals:time_rivals",
    "memory": "gpu_steps.memory:find_limits",
    "training": "gpu_steps.training:train_late",
    "training-dit": "gpu_steps.training:train_dit",
}
SPECS = ("lgtm:0.7", "lgtm:0.7@share=block", "iekvd:2", "iekvd:4", "lgtm:0.7+mlp", "tome:0.7")
DIT_SPECS = ("lgtm:0.7", "lgtm:0.7+mlp", "iekvd:2", "tome:0.7")
GRID = ("none", "lgtm:0.5@levels=all", "tome:0.5@levels=all", "tome:0.5@unshared@levels=all", "iekvd:2@levels=all")
DIT_GRID = ("none", "lgtm:0.3", "tome:0.3", "tome:0.3@unshared", "iekvd:2@blocks=1", "todo:2@blocks=1")
NEWER = ("sdxl", "pixart-sigma", "prx", "sd3.5-medium", "chroma", "flux-schnell")
GPU_MARK = "mark." + "gpu"  # of tests; a file without it is not even imported
SLOWER = 4  # times as long a toy step may take, on a machine that is busy with other tests
TRAIN, VAL = "cifar10_train.safetensors", "cifar10_val.safetensors"


@dataclass(frozen=True)
class Plan:
    """Where results go, and on what."""

    folder: Path
    device: str = "cuda"
    toy: bool = False
    data: Path | None = None

    @property
    def photos(self) -> Path:
        """Where the smoke's images are: generated, a folder for each class."""
        return self.folder / "photos"

    @property
    def images(self) -> Path:
        """Where the images to train on are."""
        return self.photos if self.toy else self.data or Path("--data FOLDER")

    @property
    def model(self) -> Path:
        """Where the trained U-Net is."""
        return self.folder / "model"

    @property
    def dit(self) -> Path:
        """Where the trained transformer is."""
        return self.folder / "model-dit"


def steps(plan: Plan) -> list[Step]:
    """Return all steps, the most valuable first."""
    unet, dit = ("mini", "mini-dit") if plan.toy else ("sd2", "dit-256")
    found = [
        check(plan, "machine", "what this machine is", 10, 60),
        check(plan, "smoke", "every verb on the embedded model", 30, 150),
        check(plan, "answers", "answers on the device against the CPU's, in every dtype", 30, 90),
        speed(plan, unet, SPECS, 32),
        check(plan, "training", "what training a U-Net reaches", 30 if plan.toy else 100, 240, plan.images),
        check(plan, "doubts", "repeatability, synchronisation, memory formats", 30, 90),
        tests(),
        grid(plan, "grid", plan.model, GRID),
        speed(plan, dit, DIT_SPECS, 64),
        check(plan, "rivals", "a plain diffusers loop and tomesd beside bigain", 30, 90),
        check(plan, "memory", "the largest batches, and running out on purpose", 30, 90),
    ]
    found += _more_speed(plan, unet, dit)
    return [replace(step, seconds=SLOWER * step.seconds) for step in found] if plan.toy else found


def _more_speed(plan: Plan, unet: str, dit: str) -> Iterator[Step]:
    """Yield the timings that may be left out."""
    about = "what training a transformer reaches"
    yield check(plan, "training-dit", about, 30 if plan.toy else 100, 180, plan.images)
    yield grid(plan, "grid-dit", plan.dit, DIT_GRID)
    yield speed(plan, unet, SPECS, 64)
    yield speed(plan, unet, ("lgtm:0.7", "iekvd:2"), 32, "--no-prefix")
    if plan.toy:
        return
    yield speed(plan, "dit-512", DIT_SPECS, 32)
    from bigain_cli.registry import MODELS

    for name in NEWER:
        if name in MODELS:
            yield speed(plan, name, ("lgtm:0.7", "iekvd:2"), 8)
    compiled = (("none",), 32), (("lgtm:0.7", "iekvd:2"), 64)
    for specs, batch in compiled:  # last: compiling takes minutes
        for name in (dit, unet):
            yield speed(plan, name, specs, batch, "--compile")


def check(plan: Plan, name: str, about: str, least: float, seconds: float, needs: Path | None = None) -> Step:
    """Return the step that runs a function of this package."""
    command = [sys.executable, str(SCRIPT), "--step", name, "-o", str(plan.folder), "--device", plan.device]
    command += ["--toy"] * plan.toy + (["--data", str(plan.data)] if plan.data else [])
    return Step(name, about, (*command, "--seconds", "{seconds}"), least, seconds, needs)


def speed(plan: Plan, model: str, specs: tuple[str, ...], batch: int, *more: str) -> Step:
    """Return the step that times specs on a network of random weights."""
    name = "-".join(["speed", model, str(batch), *(option.strip("-") for option in more)])
    about = " ".join(["evaluations a second of", model, "at batch", str(batch), *more])
    batch, dtype = (8, "float32") if plan.toy else (batch, "bfloat16")
    size = ("--rounds", "1", "--labels", "2", "--draws", "4") if plan.toy else ("--rounds", "7")
    command = ("bench", "-m", model, "--random-weights", "--device", plan.device, "--dtype", dtype, *size)
    chosen = [part for spec in specs[: 2 if plan.toy else None] for part in ("-c", spec)]
    return bigain(name, about, (*command, *chosen, "--batch", str(batch), *more, "--json", "-q"), 30, 150)


def tests() -> Step:
    """Return the step that runs the tests that need a GPU."""
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if GPU_MARK in path.read_text("utf-8")]
    command = (sys.executable, "-m", "pytest", *files, "-n", "0", "-q", "-m", "gpu", "--no-header")
    return Step("tests", "pytest -m gpu", (*command, "-p", "no:cacheprovider"), 40, 150)


def grid(plan: Plan, name: str, model: Path, specs: tuple[str, ...]) -> Step:
    """Return the step that compares compressions on a trained model."""
    data = plan.photos if plan.toy or plan.data is None else plan.data / VAL
    size = ("--limit", "4", "--draws", "2") if plan.toy else ("--limit", "2000", "--schedule", "fixed", "--draws", "16")
    chosen = [part for spec in specs[: 2 if plan.toy else None] for part in ("-c", spec)]
    command = ("evaluate", str(data), "-m", str(model), "--device", plan.device, *size, *chosen, "--json", "-q")
    return bigain(name, f"compressions on {model.name}", command, 60, 300, model / "model_index.json")


def bigain(
    name: str, about: str, arguments: tuple[str, ...], least: float, most: float, needs: Path | None = None
) -> Step:
    """Return the step that runs the command."""
    return Step(name, about, (sys.executable, "-m", "bigain_cli", *arguments), least, most, needs)
