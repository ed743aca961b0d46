"""Toy trainings, and a way to run the command that can be killed: in forks of an interpreter that is already warm."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script, too
import commands

if TYPE_CHECKING:
    from bigain_cli.training.image_tensors import LabelledImages
    from bigain_cli.training.job import TrainingJob
    from bigain_cli.training.recipe import Recipe
    from bigain_cli.training.training_loop import Training

CLASSES = ("bird", "ship", "truck")
WIDTHS = {"unet": 8, "dit": 16}
HEAVY = (*commands.SLOW, "accelerate", "torch._dynamo", "bigain_cli.training.trainer", "bigain_cli.backbones.dit")
LAZY = {  # imported at their first use only
    "diffusers": ("UNet2DConditionModel", "DiTTransformer2DModel", "DDIMScheduler", "DDPMScheduler"),
    "transformers": ("CLIPTextModel", "CLIPTokenizer", "CLIPTextConfig"),
}


def toy(count: int = 24, seed: int = 0, size: int = 16, classes: tuple[str, ...] = CLASSES) -> LabelledImages:
    """Make noise with labels in turn."""
    import torch

    from bigain_cli.training.image_tensors import LabelledImages

    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    return LabelledImages(pixels, torch.arange(count) % len(classes), classes)


def recipe(arch: str = "unet", **changes: Any) -> Recipe:
    """Make a recipe of a few milliseconds a step."""
    from bigain_cli.training.recipe import Recipe

    plain = {"size": 16, "width": WIDTHS.get(arch, 16), "depth": 2, "images": 24, "batch": 4, "warmup": 8}
    return Recipe(**{"arch": arch, "contrast": 0.1, **plain, **changes})


def training(wanted: Recipe, images: LabelledImages | None = None) -> Training:
    """Make a training that has not begun."""
    import torch

    from bigain_cli.training.networks import make_noise_schedule, make_trainable
    from bigain_cli.training.training_loop import Training

    device = torch.device("cpu")
    images = images or toy()
    trainable = make_trainable(wanted, vocabulary(images.classes))
    return Training(wanted, trainable, make_noise_schedule(device), images, device, {"classes": list(images.classes)})


def vocabulary(classes: tuple[str, ...] = CLASSES, synonyms: Any = None, templates: Any = None) -> Any:
    """Make the language of some classes."""
    from bigain_cli.training.recipe import TEMPLATES
    from bigain_cli.training.tokenizer import make_vocabulary

    return make_vocabulary(classes, synonyms or {}, templates or TEMPLATES)


def job(folder: Path | str, arch: str = "unet", **changes: Any) -> TrainingJob:
    """Make a job without previews."""
    from bigain_cli.training.job import TrainingJob

    plain = {"recipe": recipe(arch), "images": toy(), "held_out": None, "device": "cpu", "every": 12}
    return TrainingJob(**{"folder": folder, "previews": False, **plain, **changes})


class Forks:
    """Runs commands one after the other, each in a fork of a warm interpreter."""

    def __init__(self, scratch: Path) -> None:
        self.pid, self._scratch, self._waiting = 0, scratch, False
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=commands.environment(),
        )

    def start(self, *arguments: str, cwd: Path, limit: int | None = None, stdout: Path | None = None) -> None:
        """Start a command; with a limit no file of its can grow beyond so many bytes, as on a full disk."""
        self.end()
        streams = [str(self._scratch / name) for name in ("in", "out", "err")]
        for path in streams:
            Path(path).write_bytes(b"")
        streams[1] = str(stdout or streams[1])
        plain = {"arguments": arguments, "cwd": str(cwd), "env": commands.environment()}
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(json.dumps({**plain, "streams": streams, "limit": limit}) + "\n")
        self._server.stdin.flush()
        self.pid, self._waiting = int(self._server.stdout.readline()), True

    def kill(self, how: int) -> commands.Result:
        """Send a signal to the command under way."""
        os.kill(self.pid, how)
        return self.result()

    def said(self) -> str:
        return (self._scratch / "err").read_text()

    def result(self) -> commands.Result:
        """Wait for the end."""
        assert self._server.stdout
        code = int(self._server.stdout.readline())
        self._waiting = False
        return commands.Result(code, (self._scratch / "out").read_bytes(), self.said())

    def __call__(self, *arguments: str, cwd: Path, limit: int | None = None) -> commands.Result:
        self.start(*arguments, cwd=cwd, limit=limit)
        return self.result()

    def end(self) -> None:
        """Clear away a command that a test has left behind."""
        if self._waiting:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
            self.result()

    def close(self) -> None:
        self.end()
        self._server.communicate()


def serve() -> None:
    """Answer each line of stdin, a request, with two lines on stdout: the process's id, and at its end its code."""
    import importlib

    for module in HEAVY:
        importlib.import_module(module)
    for module, names in LAZY.items():
        for name in names:
            getattr(importlib.import_module(module), name)
    with os.fdopen(os.dup(0)) as requests, os.fdopen(os.dup(1), "w") as answers:
        for line in requests:
            request = json.loads(line)
            if (child := os.fork()) == 0:
                if request["limit"] is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"],) * 2)
                commands._become(request)
            print(child, file=answers, flush=True)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
    os._exit(0)  # clearing away all modules takes seconds


if __name__ == "__main__":
    serve()
