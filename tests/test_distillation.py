"""A distilled model is told by what its files say, whatever its family."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_stable_diffusion

import bigain_cli as bigain
from bigain_cli.backbones.distillation import warn_if_distilled


@pytest.mark.parametrize(
    ("name", "part", "change", "seen"),
    [
        ("sd-turbo", "unet", {}, "its name has “turbo” in it"),
        ("mine", "scheduler", {"_class_name": "LCMScheduler"}, "its scheduler is a LCMScheduler"),
        ("mine", "unet", {}, ""),
        ("mine-de-distilled", "unet", {}, ""),
    ],
)
def test_stable_diffusion(name: str, part: str, change: dict[str, Any], seen: str, tmp_path: Path) -> None:
    folder = save_stable_diffusion(tmp_path / name)
    path = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    config = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps(config))
    backbone = bigain.load(str(folder), "cpu", "float32", None)
    assert backbone.distilled == seen
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_distilled(backbone)
    assert bool(caught) == bool(seen)
