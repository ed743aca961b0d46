"""The images of each family equal those of diffusers' own pipeline from the same noise, with its own scheduler."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ChromaPipeline
from tiny_families import FAMILIES, open_pipeline

import bigain_cli as bigain
from bigain_cli.errors import UsageError

PROMPTS = ["a cat", "seven dogs"]
CASES = [  # name, guidance, negative prompt
    ("sdxl", 5.0, ""),
    ("sdxl", 1.0, ""),
    ("sdxl", 5.0, "a bird"),
    ("pixart-sigma", 4.5, "a bird"),
    ("sd3", 7.0, "a bird"),
    ("sd3-without-t5", 1.0, ""),
    ("flux", 3.5, ""),
    ("schnell", 1.0, ""),
    ("chroma", 5.0, "a bird"),
]
LIKE_OTHERS = {("sdxl", 5.0, "a bird"), ("sd3-without-t5", 1.0, "")}
OPTIONS: dict[str, dict[str, Any]] = {
    "pixart-alpha": {"use_resolution_binning": False, "clean_caption": False},
    "pixart-sigma": {"use_resolution_binning": False, "clean_caption": False},
    "schnell": {"max_sequence_length": 256},
}
NO_NEGATIVE = ("flux", "schnell")


def pipelines_images(name: str, folder: Path, guidance: float, negative: str) -> np.ndarray:
    options: dict[str, Any] = {**OPTIONS.get(name, {}), "guidance_scale": guidance, "width": 24, "height": 16}
    if negative and name not in NO_NEGATIVE:
        options["negative_prompt"] = [negative] * 2
    generators = [torch.Generator().manual_seed(5) for _ in PROMPTS]
    pipe = open_pipeline(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # between diffusers and numpy
        images = pipe(PROMPTS, generator=generators, num_inference_steps=4, output_type="np", **options).images
    return np.asarray(images)


@pytest.mark.parametrize(
    ("name", "guidance", "negative"),
    [pytest.param(*case, marks=pytest.mark.slow if case in LIKE_OTHERS else ()) for case in CASES],
)
def test_images_equal_those_of_the_pipeline(
    name: str, guidance: float, negative: str, families: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    monkeypatch.setattr(
        "bigain_cli.backbones.latents.as_image",
        lambda pixels: seen.append((pixels / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()),
    )
    mask = ChromaPipeline._prepare_attention_mask  # of numbers, which hides nothing: see chroma.py
    monkeypatch.setattr(ChromaPipeline, "_prepare_attention_mask", lambda *args, **each: mask(*args, **each).bool())
    backbone = bigain.load(str(families[name]), "cpu", "float32", None)
    options = {"steps": 4, "size": (24, 16), "seed": 5, "negative": negative, "guidance": guidance}
    list(bigain.generate(backbone, PROMPTS, **options))
    theirs = pipelines_images(name, families[name], guidance, negative)
    assert np.ptp(theirs, axis=0).max() > 2e-3, "the images must differ, or the test says nothing"
    np.testing.assert_allclose(np.stack(seen), theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sd3", {"sampler": "ddim"}, "trained with rectified flow"),
        ("sdxl", {"sampler": "flow"}, "trained with a noise schedule"),
        ("sd3", {"size": (24, 18)}, "steps of 4 pixels"),
        ("flux", {"negative": "a bird"}, "takes the guidance as an input"),
    ],
)
def test_what_does_not_fit_the_family_is_refused(
    name: str, options: dict[str, Any], message: str, families: dict[str, Path]
) -> None:
    backbone = bigain.load(str(families[name]), "cpu", "float32", None)
    with pytest.raises(UsageError, match=message):
        list(bigain.generate(backbone, "a cat", **options))


def test_the_usual_settings_are_the_familys_own(families: dict[str, Path]) -> None:
    found = {name: bigain.load(str(families[name]), "cpu", "float32", None).sampling for name in FAMILIES}
    assert (found["sdxl"].sampler, found["sdxl"].guidance) == ("euler", 5.0)
    assert (found["pixart-sigma"].sampler, found["pixart-sigma"].guidance) == ("dpm++", 4.5)
    assert (found["sd3"].sampler, found["sd3"].guidance) == ("flow", 7.0)
    assert (found["flux"].guidance, found["schnell"].guidance, found["schnell"].steps) == (3.5, 1.0, 4)
