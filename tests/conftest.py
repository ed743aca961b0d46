"""Models shared by all tests, and a world without a network."""

from __future__ import annotations

import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from forks import Forks
from hypothesis import HealthCheck, settings
from PIL import Image

from bigain_cli.cli.signals import catch_signals, settle_signals

torch.set_num_threads(1)
settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault of a test
settings.load_profile("busy")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background, and children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Handle signals as the command does; one whose exception is dropped does not come again within a test."""
    monkeypatch.setattr("bigain_cli.cli.signals.LOST", 60.0)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    catch_signals()
    yield
    settle_signals()
    for number, handler in before.items():
        signal.signal(number, handler)


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
        "late-dit": tiny_models.save_dit(root / "late-dit", late=True),
        "late-labels": tiny_models.save_stable_diffusion(root / "late-labels", with_vae=False, late=True),
        "late-text": tiny_models.save_stable_diffusion(root / "late-text", first_block="DownBlock2D"),
        "dit": tiny_models.save_dit(root / "dit"),
    }


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random model of each family with large text encoders, by name."""
    from tiny_families import FAMILIES

    root = tmp_path_factory.mktemp("families")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers' own deprecations
        return {name: save(root / name) for name, save in FAMILIES.items()}


@pytest.fixture(scope="session")
def images() -> list[tuple[str, Image.Image]]:
    """Five small images of different proportions, the same in every run."""
    generator = np.random.default_rng(0)
    noise = [generator.normal(128, 40 + 9 * number, (31 - number, 20 + 3 * number)) for number in range(5)]
    grey = [Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)) for values in noise]
    return [(f"{number}.png", image.convert("RGB").rotate(90 * number)) for number, image in enumerate(grey)]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser, where there is one."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    with sync.sync_playwright() as play:
        started = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Open a page in the browser; no request may leave it and no error may be raised in it."""
    path = tmp_path / "page.html"
    context = browser.new_context(viewport={"width": 400, "height": 800}, color_scheme="light")
    requests: list[str] = []
    problems: list[str] = []
    view = context.new_page()
    view.on("request", lambda request: requests.append(request.url))
    view.on("pageerror", lambda error: problems.append(str(error)))
    view.on("console", lambda message: problems.append(message.text))
    view.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))

    def opened(text: str) -> Any:
        path.write_text(text)
        view.goto(path.as_uri())
        return view

    yield opened
    view.wait_for_timeout(50)
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert problems == []
    context.close()


@pytest.fixture(scope="session")
def bigain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Return what runs the command."""
    forks = Forks(tmp_path_factory.mktemp("streams"))
    yield forks
    forks.close()
