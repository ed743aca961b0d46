"""Models shared by all tests, and a world without a network."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background, and children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny random models, by name."""
    root = tmp_path_factory.mktemp("models")
    return {
        "epsilon": tiny_models.save_stable_diffusion(root / "epsilon"),
        "v": tiny_models.save_stable_diffusion(root / "v", "v_prediction"),
        "pixels": tiny_models.save_stable_diffusion(root / "pixels", with_vae=False),
        "pixels-v": tiny_models.save_stable_diffusion(root / "pixels-v", "v_prediction", with_vae=False),
        "pooled": tiny_models.save_stable_diffusion(root / "pooled", pooled=True),
        "late-text": tiny_models.save_stable_diffusion(root / "late-text", first_block="DownBlock2D"),
        "dit": tiny_models.save_dit(root / "dit"),
    }


@pytest.fixture(scope="session")
def images() -> list[tuple[str, Image.Image]]:
    """Five small images of different proportions, the same in every run."""
    generator = np.random.default_rng(0)
    noise = [generator.normal(128, 40 + 9 * number, (31 - number, 20 + 3 * number)) for number in range(5)]
    grey = [Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)) for values in noise]
    return [(f"{number}.png", image.convert("RGB").rotate(90 * number)) for number, image in enumerate(grey)]
