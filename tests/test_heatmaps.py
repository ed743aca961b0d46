"""Evidence maps add up to the gaps, and making them changes nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image

import bigain_cli as bigain
from bigain_cli.backbones.devices import PrecisionWarning
from bigain_cli.classification.heatmaps import PixelErrors, equal_weights
from bigain_cli.errors import UsageError
from bigain_cli.images import center_crop, digest
from bigain_cli.noise_draws import Draws

COLOURS = ["red", "green", "blue", "orange", "grey"]
LABELS = ["tabby", "tench", "airliner"]
FEW = bigain.StoppingRules("fixed", draws=4)


def flat(number: int, size: tuple[int, int] = (24, 20)) -> tuple[str, Image.Image]:
    """Paint an image whose left half is of another colour than its right half."""
    image = Image.new("RGB", size, [(200, 30, 40), (40, 150, 60), (60, 70, 190)][number % 3])
    image.paste((180 - 20 * number, 120, 20 * number), (size[0] // 2, 0, *size))
    return f"{number}.png", image


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a U-Net that takes pixels in patches of 2×2."""
    folder = tiny_models.save_stable_diffusion(tmp_path_factory.mktemp("models") / "patched", with_vae=False)
    torch.manual_seed(1)
    tiny_models.unet(12).save_pretrained(folder / "unet")
    (folder / "bigain.json").write_text(json.dumps({"patch": 2}))
    return folder


def runs(backbone: Any, images: Any, labels: Any, **options: Any) -> tuple[list[Any], list[Any]]:
    """Classify without and with maps."""
    return tuple(list(bigain.classify(backbone, images, labels, maps=maps, **options)) for maps in (False, True))


def check(plain_run: list[Any], mapped: list[Any], tolerance: float = 1e-5) -> None:
    """Compare the records byte by byte, and every map's sum with its gap."""
    assert [json.dumps(each.to_dict(None)) for each in plain_run] == [json.dumps(each.to_dict(None)) for each in mapped]
    assert all(each.evidence is None for each in plain_run)
    for each in mapped:
        first = each.evidence.maps[0]
        assert first.gap == each.gap and first.draws == each.draws
        assert first.against == (None if each.runner_up == "none" else each.runner_up)
        for evidence in each.evidence.maps:
            assert evidence.map.sum() == pytest.approx(evidence.gap, abs=tolerance)
            assert evidence.map.std() > 0


@pytest.mark.parametrize("score", ["l2", "l1"])
@pytest.mark.parametrize("reject", [False, True])
def test_maps_of_a_race_add_up_to_the_gap(score: str, reject: bool) -> None:
    backbone = bigain.load("colours")
    rules = bigain.StoppingRules(score=score)
    before, after = runs(backbone, [flat(n) for n in range(6)], COLOURS, rules=rules, reject=reject)
    check(before, after)
    assert any(each.settled for each in after), "the runner-up of some dropped out"
    for each in after:
        expected = [None] if each.runner_up == "none" else [each.runner_up, None]
        assert [evidence.against for evidence in each.evidence.maps] in (expected, expected[:1])


@pytest.mark.parametrize("kind", ["epsilon", "pixels", "dit"])
def test_maps_of_networks_add_up_whatever_the_batches(kind: str, models, images) -> None:
    backbone = bigain.load(str(models[kind]), device="cpu")
    seen = []
    for batch in (1, 64):
        before, after = runs(backbone, images[:2], LABELS, rules=FEW, batch=batch)
        check(before, after)
        seen.append([evidence.map for each in after for evidence in each.evidence.maps])
    for other in seen[1:]:
        for one, two in zip(seen[0], other, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-6)


def test_maps_of_patches_are_maps_of_pixels(patched: Path, images) -> None:
    backbone = bigain.load(str(patched), device="cpu")
    before, after = runs(backbone, images[:2], LABELS, rules=FEW)
    check(before, after)
    assert after[0].evidence.maps[0].map.shape == (16, 16)
    values = torch.zeros(1, 12, 8, 8)
    values[0, 6, 3, 5] = 2.0  # the second colour's lower left corner of a 2×2 patch
    pixels = PixelErrors(True, 2, equal_weights)(values)[0]
    assert pixels.nonzero().tolist() == [[7, 10]] and pixels[7, 10] == 2.0 / values[0].numel()


def test_maps_equal_a_plain_loop(models, images) -> None:
    """Compute the error of every pixel over the image's draws; two prompts of a label are averaged."""
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    labels = {"tabby": ["a tabby", "some cat"], "tench": ["a tench"]}
    result = next(bigain.classify(backbone, images[:1], labels, rules=FEW, maps=True))
    block = Draws(0, digest(images[0][1]), backbone.latent_shape, backbone.timestep_range).block(0, 4)
    latent = backbone.encode(images[0][1])
    texts = [*labels["tabby"], *labels["tench"], ""]
    conditions, seen = backbone.condition(texts), []
    with torch.inference_mode():
        noisy = backbone.mix(latent.expand(4, -1, -1, -1), block.noise, block.t)
        for row in range(len(texts)):
            rows = conditions.take(torch.full((4,), row))
            seen.append((backbone.noise(noisy, block.t, rows) - block.noise).square().mean((0, 1)) / 64)
    errors = {"tabby": (seen[0] + seen[1]) / 2, "tench": seen[2], None: seen[3]}
    for evidence in result.evidence.maps:
        expected = errors[evidence.against] - errors[result.label]
        np.testing.assert_allclose(evidence.map, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("score", ["norm", "log"])
def test_roots_and_logarithms_add_up_but_for_a_small_remainder(score: str, models, images) -> None:
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    before, after = runs(backbone, images[:2], LABELS, rules=bigain.StoppingRules("fixed", draws=4, score=score))
    check(before, after, 1e-9)
    for each in after:
        for evidence in each.evidence.maps:
            scale = max(abs(evidence.gap), np.abs(evidence.map).sum())  # a gap may be almost 0
            assert 0 < abs(evidence.remainder) < 0.05 * scale


def test_maps_show_the_side_with_the_evidence(images) -> None:
    """Half red and half blue: red's evidence against blue lies in the red half."""
    image = Image.new("RGB", (32, 32), (220, 30, 30))
    image.paste((40, 80, 200), (18, 0, 32, 32))
    result = next(bigain.classify(bigain.load("colours"), [("two.png", image)], ["red", "blue"], maps=True))
    left, right = np.hsplit(result.evidence.maps[0].map, 2)
    assert result.label == "red" and left.sum() > 0 > right.sum()


def test_maps_of_a_compressed_network_add_up(models, images) -> None:
    backbone = bigain.load(str(models["epsilon"]), device="cpu")
    check(*runs(backbone, images[:2], LABELS, rules=FEW, compress="lgtm:0.5@share=block"))
    check(*runs(backbone, images[:2], LABELS, rules=FEW, compress="iekvd:2", reject=True))


def test_the_empty_prompt_is_the_only_extra_work(models, images) -> None:
    backbone = bigain.load(str(models["late-text"]), device="cpu")
    rows = []
    backbone.network.conv_out.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    counts = []
    for options in ({}, {"maps": True}, {"maps": True, "reject": True}):
        rows.clear()
        list(bigain.classify(backbone, images[:1], LABELS, rules=FEW, batch=4, share_prefix=False, **options))
        counts.append(sum(rows))
    assert counts == [12, 16, 16]


def test_votes_have_no_maps() -> None:
    with pytest.raises(UsageError, match=r"maps of the score vote: votes cannot.*--score l2, norm, log or l1"):
        bigain.Classification(
            bigain.load("colours"), ["red", "green"], rules=bigain.StoppingRules(score="vote"), maps=True
        )


@pytest.mark.parametrize("size", [(32, 32), (2000, 500), (500, 2000), (7, 3)])
def test_the_shown_image_has_the_models_proportions(size: tuple[int, int]) -> None:
    view = center_crop(Image.new("RGB", size), (8, 8))
    assert view.width == view.height == min(*size, 512)
    wide = center_crop(Image.new("RGB", size), (4, 8))
    assert wide.width <= size[0] and wide.height <= size[1] and abs(wide.width - 2 * wide.height) <= 1


def test_maps_start_again_with_the_draws_where_float16_overflows(models, images) -> None:
    backbone = bigain.load(str(models["pixels"]), device="cpu", dtype="float16")
    backbone.network.conv_out.weight.data *= 2e4
    backbone.network.conv_out.bias.data += 6e4
    with pytest.warns(PrecisionWarning):
        results = list(bigain.classify(backbone, images[:2], ["cat", "dog"], rules=FEW, maps=True))
    for each in results:
        assert each.evidence.maps[0].draws == 4
        assert each.evidence.maps[0].map.sum() == pytest.approx(each.gap, rel=1e-4), "errors are of the order of 1e9"


def test_an_empty_prompt_that_is_not_finite_changes_no_label(models, images) -> None:
    backbone = bigain.load(str(models["dit"]), device="cpu")
    table = backbone.network.get_submodule("transformer_blocks.0.norm1.emb.class_embedder.embedding_table")
    table.weight.data[-1] = math.nan
    before, after = runs(backbone, images[:2], LABELS, rules=FEW)
    check(before, after)
    assert all(len(each.evidence.maps) == 1 for each in after)
