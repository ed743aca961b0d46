"""Compression of the newer families in classify, bench and inspect: one plan for all labels, whatever the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_families import FAMILIES

import bigain_cli as bigain
from bigain_cli.backbones.random_weights import load_random
from bigain_cli.benchmark import timing
from bigain_cli.errors import UsageError

# diffusers 0.42 warns of its own Chroma and PRX
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*LoraLoaderMixin:FutureWarning"),
    pytest.mark.filterwarnings("ignore::bigain_cli.backbones.distillation.DistilledWarning"),
]
USUAL = ("sd3", "flux")
NAMES = [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
LABELS = ["cat", "dog", "ship"]
SPECS = ["lgtm:0.5@levels=all+mlp", "tome:0.5@levels=all@share=level+iekvd:2@0.8:1.2@levels=all"]
SIDE = 8  # of latents


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {}


@pytest.fixture
def folder(request: pytest.FixtureRequest, folders: dict[str, Path], tmp_path_factory: Any) -> Path:
    name = request.param
    if name not in folders:
        folders[name] = FAMILIES[name](tmp_path_factory.mktemp("families") / name)
    return folders[name]


def small(backbone: Any) -> Any:
    backbone.latent_shape = (backbone.latent_shape[0], SIDE, SIDE)  # FLUX and Chroma name no size, and start from 128
    return backbone


def image() -> Image.Image:
    return Image.radial_gradient("L").convert("RGB")


def gaps(backbone: Any, labels: list[str], spec: str, batch: int) -> list[float]:
    rules = bigain.StoppingRules(schedule="fixed", draws=2)
    *_, last = bigain.classify(backbone, [image()], labels, compress=spec, batch=batch, rules=rules)
    found = {ranked.label: ranked.gap for ranked in last.ranked}
    return [found[label] for label in LABELS]


@pytest.mark.parametrize("folder", NAMES, indirect=True)
def test_labels_and_batches_change_no_plan(folder: Path) -> None:
    backbone = small(bigain.load(str(folder), "cpu", "float32", None))
    plain = gaps(backbone, LABELS, "none", 7)
    for spec in SPECS:
        whole = gaps(backbone, LABELS, spec, 7)
        assert whole != plain
        assert gaps(backbone, LABELS[::-1], spec, 1) == pytest.approx(whole, rel=1e-4, abs=1e-5)
    assert gaps(backbone, LABELS, "none", 7) == plain


@pytest.mark.parametrize("folder", NAMES, indirect=True)
def test_random_weights_are_timed_with_compression_and_without(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "product_speed", lambda device, dtype: 1e12)
    backbone = load_random(str(folder), "cpu", "bfloat16", size=2 * SIDE)
    assert backbone.latent_shape[1:] == (SIDE, SIDE) and backbone.dtype == torch.bfloat16
    found = bigain.bench(backbone, SPECS, labels=2, draws=1, batch=2, rounds=1)
    base, *others = (each.gflop_pass for each in found.timings)
    assert all(other is not None and base is not None and other < base for other in others)
    with pytest.raises(UsageError, match="this spec does nothing on this model"):
        bigain.bench(backbone, ["lgtm:0.001@levels=all"], labels=2, draws=1, batch=2, rounds=1)


@pytest.mark.parametrize("folder", NAMES, indirect=True)
def test_inspect_sees_the_image_tokens_of_every_block(folder: Path) -> None:
    backbone = small(bigain.load(str(folder), "cpu", "float32", None))
    found = bigain.inspect(backbone, image(), SPECS[0], (100, 900))
    assert len(found.views) == 2 * len(found.report.sites) and found.report.saved > 0
    for view in found.views:
        grid = next(site.grid for site in found.report.sites if site.name == view.site)
        assert view.score.shape == grid and view.kept.sum() == view.keys < grid.n
