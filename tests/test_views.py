"""Views of an image: which pixels they show, which draws take them, and that answers, maps and records follow."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import warm
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import bigain_cli as bigain
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.classification.heatmaps import _on_the_image
from bigain_cli.classification.viewed_image import ViewedImage
from bigain_cli.images import digest
from bigain_cli.labels import templates
from bigain_cli.noise_draws import Draws
from bigain_cli.views import View, Views, read_views

VIEWS = st.builds(Views, st.booleans(), st.integers(0, 4))
VIEW = st.builds(View, st.booleans(), st.integers(-3, 3), st.integers(-3, 3))
LABELS = ["tabby", "tench", "airliner"]


def photo(seed: int = 0, size: tuple[int, int] = (8, 8)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@given(views=VIEWS)
def test_what_is_written_is_read(views: Views) -> None:
    assert read_views(str(views)) == views and bool(views) == (str(views) != "none")


@pytest.mark.parametrize(
    "text", ["", 3, ("mirror",), "move:" + "9" * 5000,
             "mirrored", "move", "move:", "move:0", "move:-1", "move:1.5", "mirror+mirror", "move:1+move:2",
             "none+mirror", "mirror:1", "mirror+", "move:١"]
)  # fmt: skip
def test_other_texts_are_refused(text: Any) -> None:
    with pytest.raises(bigain.UsageError, match="views"):
        bigain.StoppingRules(views=text)


@given(view=VIEW, seed=st.integers(0, 9))
def test_a_view_shows_the_image_moved_and_mirrored(view: View, seed: int) -> None:
    image = photo(seed, (7, 5))
    wide = np.pad(np.asarray(image), ((3, 3), (3, 3), (0, 0)), mode="reflect")
    moved = wide[3 + view.down : 8 + view.down, 3 + view.right : 10 + view.right]
    assert np.array_equal(np.asarray(view.of(image)), moved[:, ::-1] if view.mirrored else moved)


@given(view=VIEW, seed=st.integers(0, 9))
def test_what_a_view_shows_goes_back_to_the_pixel_it_shows(view: View, seed: int) -> None:
    pixels = torch.rand(6, 9, generator=torch.Generator().manual_seed(seed))
    expected = torch.zeros(6, 9)
    for i, row in enumerate(view.sources(6, 9)[0]):
        for j, column in enumerate(view.sources(6, 9)[1]):
            down = i + view.down
            right = (8 - j if view.mirrored else j) + view.right
            inside = 0 <= down < 6 and 0 <= right < 9
            assert not inside or (row, column) == (down, right)
            expected[min(max(down, 0), 5), min(max(right, 0), 8)] += pixels[i, j]
    torch.testing.assert_close(_on_the_image(pixels, view), expected)


def test_every_place_of_a_map_counts_alike() -> None:
    every = [View(mirrored, down, right) for mirrored in (False, True) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    seen = sum(_on_the_image(torch.ones(5, 6), view) for view in every)
    torch.testing.assert_close(seen, torch.full((5, 6), 18.0))


@settings(max_examples=30)
@given(seed=st.integers(0, 99), move=st.integers(0, 2))
def test_of_two_draws_one_is_mirrored_and_moves_are_even(seed: int, move: int) -> None:
    taken = Draws(seed, b"x", (1, 2, 2), views=Views(True, move)).views_of(0, 400)
    pairs = [(taken[2 * each].mirrored, taken[2 * each + 1].mirrored) for each in range(200)]
    assert set(pairs) == {(True, False), (False, True)}, "in both orders: the first is early in the schedule"
    shifts = [(view.down, view.right) for view in taken]
    assert {max(map(abs, each)) for each in shifts} <= set(range(move + 1))
    assert len(set(shifts)) == (2 * move + 1) ** 2


def test_a_view_is_encoded_once_and_none_is_the_image_itself(models) -> None:
    backbone = bigain.load(str(models["late-labels"]), device="cpu")
    encoded: list[Image.Image] = []
    encode, image = backbone.encode, photo(size=(20, 16))
    backbone.encode = lambda each: encoded.append(each) or encode(each)
    draws = Draws(0, digest(image), backbone.latent_shape)
    plain = ViewedImage(backbone, image, draws)
    assert torch.equal(plain.latents(0, 3), encode(image)) and len(encoded) == 1
    several = ViewedImage(backbone, image, replace(draws, views=Views(True, 1)))
    latents, taken = several.latents(0, 40), several.draws.views_of(0, 40)
    assert len(encoded) - 1 == len(set(taken)) == len({latent.numpy().tobytes() for latent in latents}) > 15
    assert torch.equal(latents[taken.index(View())], encode(image))


def test_errors_are_those_of_each_draws_view(models) -> None:
    backbone, image = bigain.load(str(models["late-labels"]), device="cpu"), photo()
    rules = bigain.StoppingRules("fixed", draws=8, views="mirror+move:1")
    ranking = next(bigain.classify(backbone, image, LABELS, rules=rules))
    assert ranking.settings["views"] == "mirror+move:1"
    draws = Draws(0, digest(image), backbone.latent_shape, views=Views(True, 1))
    texts = [templates.fill(backbone.template, label) for label in LABELS]
    block, conditions, means = draws.block(0, 8), backbone.condition(texts), np.zeros(3)
    with torch.inference_mode():
        for number, view in enumerate(draws.views_of(0, 8)):
            noise, t = block.noise[[number]], block.t[[number]]
            noisy = backbone.mix(backbone.encode(view.of(image))[None], noise, t)
            for label in range(3):
                found = backbone.noise(noisy, t, conditions.take(torch.tensor([label])))
                means[label] += float((found - noise).square().mean()) / 8
    scores = {each.label: each.score for each in ranking.ranked}
    np.testing.assert_allclose([-scores[label] for label in LABELS], means, rtol=1e-5)


def test_records_depend_on_the_image_alone(models) -> None:
    backbone = bigain.load(str(models["late-labels"]), device="cpu")
    rules, images = bigain.StoppingRules(draws=16, views="mirror+move:2"), [photo(seed) for seed in range(3)]

    def records(some):
        return [each.to_dict() | {"id": ""} for each in bigain.classify(backbone, some, LABELS, rules=rules)]

    together = records(images)
    assert together == [record for image in images for record in records([image])]
    assert records(images[::-1]) == together[::-1]


@pytest.mark.parametrize("kind", ["late-labels", "epsilon"])
def test_maps_of_views_lie_on_the_image_and_add_up_to_the_gap(kind: str, models) -> None:
    backbone = bigain.load(str(models[kind]), device="cpu")
    rules = bigain.StoppingRules("fixed", draws=8, views="mirror+move:1", score="l2")
    (result,) = bigain.classify(backbone, photo(size=(64, 64)), LABELS, rules=rules, maps=True)
    (plain,) = bigain.classify(backbone, photo(size=(64, 64)), LABELS, rules=rules)
    assert [each.score for each in result.ranked] == [each.score for each in plain.ranked]
    for each in result.evidence.maps:
        assert each.map.sum() == pytest.approx(each.gap, rel=1e-3, abs=1e-7) and abs(each.remainder) < 1e-7


def test_the_model_says_which_views_and_an_option_overrides_it(models, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models["late-labels"], tmp_path / "model"))
    (folder / "bigain.json").write_text(replace(ModelCard(), views="mirror", temperature=0.1).to_json())
    photo().save(tmp_path / "photo.png")
    asked = ("classify", "photo.png", "-l", ",".join(LABELS), "-m", "model", "--draws", "2", "--json")
    own, none, moved = (
        json.loads(warm(*asked, *more, cwd=tmp_path).out)[0]
        for more in ((), ("--views", "none"), ("--views", "move:1"))
    )
    assert own["settings"]["views"] == "mirror" and own["settings"]["temperature"] == 0.1
    named = json.loads(warm(*asked, "--views", "mirror", cwd=tmp_path).out)[0]
    assert named == own, "the model's own views, named"
    assert "views" not in none["settings"] and moved["settings"]["views"] == "move:1"
    assert "temperature" not in none["settings"], "it was fitted with the model's own views"
    assert len({each["settings"]["fingerprint"] for each in (own, none, moved)}) == 3
    refused = warm(*asked, "--views", "move:4", cwd=tmp_path)
    assert refused.code == 2 and "at most 3 leave half of them" in refused.err


def test_a_cards_move_must_fit_its_images(models, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models["late-labels"], tmp_path / "model"))
    (folder / "bigain.json").write_text(replace(ModelCard(), views="move:4").to_json())
    with pytest.raises(bigain.UsageError, match="at most 3 leave half of them"):
        next(bigain.classify(str(folder), photo(), LABELS))


@pytest.mark.parametrize("views", ["sideways", 3, None])
def test_a_card_with_unknown_views_is_refused(views: object, tmp_path: Path) -> None:
    (tmp_path / "bigain.json").write_text(json.dumps({"views": views}))
    with pytest.raises(bigain.ModelError, match="views"):
        ModelCard.read(tmp_path)
