"""Distances, precision and recall against closed forms and an oracle, and features that do not depend on company."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image

import bigain_cli as bigain
from bigain_cli.compress import compressed
from bigain_cli.errors import BigainError, ModelError, UsageError
from bigain_cli.evaluation.image_features import FeatureRows, load_feature
from bigain_cli.evaluation.image_metrics import frechet, gaussian, in_manifold, kernel, moments, square_root
from bigain_cli.intervals import resamples, spread, wilson
from bigain_cli.registry import MEASURES

NONE = np.zeros((0, 0))


def cloud(count: int, width: int = 4, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(width, width))
    return generator.normal(size=(count, width)) @ mixing + shift


def covariance(width: int, seed: int) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(width, width))
    return root @ root.T


def ours(mean: Any, one: Any, its_mean: Any, other: Any) -> float:
    return gaussian(np.asarray(mean), np.asarray(one), np.asarray(its_mean), np.asarray(other), square_root(other))


def test_the_kernel_distance_of_four_images_warns_of_nothing() -> None:
    """A resample of four is one image four times now and then: it has no pairs."""
    with warnings.catch_warnings(action="error"):
        found = bigain.compare_features(cloud(4), cloud(9, seed=1), "test", measures=["kernel"])["kernel"].interval
    assert found.low <= found.value <= found.high


def distance(one: np.ndarray, other: np.ndarray, measure: str = "frechet") -> Any:
    return bigain.compare_features(one, other, "test", measures=[measure])[measure].interval


@pytest.fixture(scope="module")
def shots() -> list[Image.Image]:
    """Images of different proportions."""
    return [
        Image.effect_noise((8 + number % 3, 9), 20 + 2 * number).convert("RGB").rotate(90 * number)
        for number in range(27)
    ]


class Means:
    """A feature without a network: what an image's corners are."""

    name = "means"

    def __call__(self, images: Any) -> FeatureRows:
        return np.stack([np.asarray(image, np.float32)[:2, :2].mean((0, 1)) for image in images])


# The distance of two Gaussians, by hand and by SciPy.


def test_gaussians_in_one_dimension_by_hand() -> None:
    # (μ − μ')² + (σ − σ')²
    assert ours([1.0], [[4.0]], [4.0], np.array([[25.0]])) == pytest.approx(9 + 9)


def test_gaussians_with_common_axes_by_hand() -> None:
    one, other = np.diag([1.0, 4, 9, 0]), np.diag([16.0, 4, 1, 25])
    assert ours(np.zeros(4), one, np.ones(4), other) == pytest.approx(4 + 9 + 0 + 4 + 25)


@pytest.mark.parametrize("width", [1, 2, 7, 40])
def test_gaussians_equal_scipys_matrix_root(width: int) -> None:
    one, other = covariance(width, 1), covariance(width, 2)
    mean = np.linspace(-1, 1, width)
    expected = mean @ mean + np.trace(one + other - 2 * scipy.linalg.sqrtm(one @ other).real)
    assert ours(mean, one, np.zeros(width), other) == pytest.approx(expected, rel=1e-9)


def test_root_squared_is_the_matrix() -> None:
    matrix = covariance(9, 3)
    assert square_root(matrix) @ square_root(matrix) == pytest.approx(matrix)


def test_moments_equal_numpys() -> None:
    one = cloud(50)
    weights = resamples(50, 1, seed=1)[0]
    mean, matrix = moments(one, weights)
    repeated = one.repeat(weights.astype(int), axis=0)
    assert mean == pytest.approx(repeated.mean(0))
    assert matrix == pytest.approx(np.cov(repeated.T))


def test_a_known_shift_is_found() -> None:
    one, other = cloud(4000, seed=1), cloud(4000, seed=2, shift=1.0)
    assert distance(one, other).value == pytest.approx(4.0, rel=0.15)


# Laws of both distances.


@pytest.mark.parametrize("measure", ["frechet", "kernel"])
def test_distance_is_symmetric(measure: str) -> None:
    one, other = cloud(60), cloud(60, seed=1, shift=0.5)
    assert distance(one, other, measure).value == pytest.approx(distance(other, one, measure).value, rel=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_order_does_not_matter(measure: str) -> None:
    one, other = cloud(60), cloud(80, seed=1, shift=0.5)
    mixed = distance(np.random.default_rng(3).permutation(one), other[::-1], measure)
    assert mixed.value == pytest.approx(distance(one, other, measure).value, rel=1e-9)


def test_identical_sets_are_at_no_distance() -> None:
    one = cloud(60)
    found = distance(one, one)
    assert 0 <= found.value < 1e-9
    assert found.low == 0 < found.high


def test_frechet_is_too_high_between_samples_of_one_distribution_and_less_so_with_more() -> None:
    few, many = (np.mean([distance(cloud(n, seed=2 * i), cloud(n, seed=2 * i + 1)).value for i in range(8)])
                 for n in (20, 320))  # fmt: skip
    assert few > 8 * many > 0


def test_kernel_distance_is_unbiased() -> None:
    pairs = [(cloud(12, seed=2 * i), cloud(12, seed=2 * i + 1)) for i in range(400)]
    values = np.array([kernel(*pair, np.zeros((1, 12)) + 1)[0].value for pair in pairs])
    assert values.min() < 0 < values.max()
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))


def test_kernel_distance_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigain_cli.evaluation.image_metrics.ROWS_AT_ONCE", 2)
    one, other = cloud(7), cloud(5, seed=1)

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return (x @ y / 4 + 1) ** 3

    def pairs(points: np.ndarray) -> float:
        return np.mean([k(x, y) for i, x in enumerate(points) for j, y in enumerate(points) if i != j])

    between = np.mean([k(x, y) for x in one for y in other])
    assert distance(one, other, "kernel").value == pytest.approx(pairs(one) + pairs(other) - 2 * between)


def test_a_resample_counts_no_image_with_itself() -> None:
    one, other, weights = cloud(6), cloud(9, seed=1), np.array([[2.0, 1, 0, 0, 3, 0]])
    places = [0, 0, 1, 4, 4, 4]
    grams = (one @ one.T / 4 + 1) ** 3
    kept = [grams[i, j] for a, i in enumerate(places) for b, j in enumerate(places) if i != j and a != b]
    others = (other @ other.T / 4 + 1) ** 3
    rest = (others.sum() - np.trace(others)) / 72 - 2 * ((one[places] @ other.T / 4 + 1) ** 3).mean()
    assert kernel(one, other, weights)[1] == pytest.approx([np.mean(kept) + rest])


# Precision and recall on sets that were made for it.


def both(generated: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    found = bigain.compare_features(generated, real, "test", measures=["precision", "recall"])
    return found["precision"].interval.value, found["recall"].interval.value


def test_identical_sets_cover_each_other() -> None:
    assert both(cloud(50), cloud(50)) == (1, 1)


def test_sets_of_copies_cover_each_other() -> None:
    one = np.full((10, 3), 1e6) + 0.1
    assert both(one, one.copy()) == (1, 1)


def test_sets_that_are_apart_cover_nothing() -> None:
    assert both(cloud(50), cloud(50, seed=1, shift=1e3)) == (0, 0)


def test_half_of_the_modes_is_full_precision_and_half_recall() -> None:
    left, right = cloud(40), cloud(40, shift=1e3)
    assert both(left, np.concatenate([left, right])) == (1, 0.5)
    assert both(np.concatenate([left, right]), left) == (0.5, 1)


def test_balls_reach_the_third_neighbour() -> None:
    real = np.array([[0.0], [1], [2], [4], [100], [101], [102], [103]])  # radii 4, 3, 2, 4, 3, 2, 2, 3
    probes = np.array([[-4.0], [-4.01], [8], [8.01], [96.99], [97], [106], [106.01]])
    assert in_manifold(probes, real).tolist() == [True, False, True, False, False, True, True, False]


def test_parts_of_a_set_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = cloud(30, seed=1, shift=0.3), cloud(41)
    whole = in_manifold(one, other)
    monkeypatch.setattr("bigain_cli.evaluation.image_metrics.ROWS_AT_ONCE", 7)
    assert 0 < whole.sum() < 30
    assert (in_manifold(one, other) == whole).all()


# Intervals.


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("measure", MEASURES)
def test_intervals_hold_their_estimate(measure: str, seed: int) -> None:
    found = distance(cloud(30 + seed, seed=seed), cloud(40, seed=100 + seed, shift=0.2 * seed), measure)
    assert found.low <= found.value <= found.high
    assert found.low < found.high


def test_the_interval_of_a_mean_shift_covers_it_as_often_as_it_says() -> None:
    real = cloud(3000, width=2, seed=7)
    mixing = np.random.default_rng(99).normal(size=(2, 2))
    expected = ours(np.ones(2), mixing.T @ mixing, *moments(real, np.ones(3000)))
    hits = 0
    for seed in range(40):
        found = distance(cloud(300, width=2, seed=1000 + seed, shift=1.0), real)
        hits += found.low <= expected <= found.high
    assert hits >= 34  # of 40; 38 are promised, and the bias takes a few


def test_wilson_is_scipys() -> None:
    expected = scipy.stats.binomtest(7, 40).proportion_ci(method="wilson")
    found = wilson(7 / 40, 40)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6)
    assert wilson(0, 9).low == 0 < wilson(0, 9).high
    assert wilson(1, 9).high == 1 > wilson(1, 9).low


def test_spread_is_the_percentiles_around_the_estimate() -> None:
    found = spread(5.0, np.linspace(10, 20, 1001))
    assert (found.low, found.value, found.high) == pytest.approx((0.25, 5.0, 9.75))
    assert spread(0.1, np.linspace(0, 2, 9), least=0.0).low == 0


def test_resamples_are_counts_of_draws_with_replacement() -> None:
    found = resamples(50, 20, seed=4)
    assert found.shape == (20, 50)
    assert (found.sum(1) == 50).all()
    assert (found == resamples(50, 20, seed=4)).all()
    assert (found != resamples(50, 20, seed=5)).any()
    assert found.max() > 2


def test_the_same_seed_gives_the_same_numbers() -> None:
    one, other = cloud(40), cloud(40, seed=1)
    first, again = (bigain.compare_features(one, other, "test", seed=3).to_dict() for _ in range(2))
    assert first == again
    assert first != bigain.compare_features(one, other, "test", seed=4).to_dict()


def test_differences_are_paired() -> None:
    real, one = cloud(200, seed=1), cloud(200, seed=2, shift=0.5)
    slightly = one + np.random.default_rng(0).normal(scale=0.05, size=one.shape)
    before, after = (bigain.compare_features(each, real, "test") for each in (one, slightly))
    for name in ("frechet", "kernel"):
        change, alone = after[name].minus(before[name]), before[name].interval
        assert change.value == after[name].interval.value - before[name].interval.value
        assert change.low <= change.value <= change.high
        assert change.high - change.low < 0.3 * (alone.high - alone.low)
    same = before["recall"].minus(before["recall"])
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_differences_of_unlike_estimates_are_refused() -> None:
    one, other = cloud(40), cloud(30, seed=1)
    found = bigain.compare_features(one, other, "test")
    with pytest.raises(UsageError, match="their generated is 39 and 40"):
        bigain.compare_features(one[1:], other, "test")["kernel"].minus(found["kernel"])
    with pytest.raises(UsageError, match="their measure is recall and precision"):
        found["recall"].minus(found["precision"])
    with pytest.raises(UsageError, match="their feature is another and test"):
        bigain.compare_features(one, other, "another")["recall"].minus(found["recall"])


# What is refused.


@pytest.mark.parametrize(("counts", "side"), [((4, 50), "generated"), ((50, 4), "real")])
def test_too_few_images_for_a_covariance_are_refused(counts: tuple[int, int], side: str) -> None:
    with pytest.raises(UsageError, match=f"4 {side} images for 4 features: their covariance is singular"):
        bigain.compare_features(cloud(counts[0]), cloud(counts[1]), "test")
    assert frechet(cloud(5), cloud(5), np.ones((2, 5)))[0].value < 1e-9  # one more is enough to compute


@pytest.mark.parametrize(
    ("one", "other", "measures", "message"),
    [
        (cloud(9), cloud(9, width=3), ["kernel"], "4 features of generated images, 3 of real ones"),
        (cloud(9) * np.nan, cloud(9), ["kernel"], "features of generated images: not all of them are numbers"),
        (NONE, cloud(9), ["kernel"], "generated images: there are none"),
        (cloud(9), NONE, ["kernel"], "real images: there are none"),
        (cloud(1), cloud(9), ["kernel"], "fewer than two images"),
        (cloud(9), cloud(3), ["precision"], "3 images have no 3 neighbours each"),
        (cloud(9), cloud(9), ["fréchet"], "measure fréchet: unknown. Did you mean frechet?"),
    ],
)
def test_bad_sets_are_clear_errors(one: Any, other: Any, measures: list[str], message: str) -> None:
    with pytest.raises(BigainError, match=message.replace("?", r"\?")):
        bigain.compare_features(one, other, "test", measures=measures)


# Features.


@pytest.mark.parametrize("kind", ["pixels", "epsilon", "v", "late-text", "dit"])
def test_a_row_depends_on_its_image_alone(models, shots, kind: str) -> None:
    feature = load_feature("backbone", bigain.load(str(models[kind]), device="cpu"))
    whole = feature(shots)
    assert whole.shape == (27, 32 if kind == "dit" else 64)
    assert whole.dtype == np.float32
    assert len(np.unique(whole[:, 0])) == 27
    assert (np.concatenate([feature(shots[:5]), feature(shots[5:6]), feature(shots[6:])]) == whole).all()
    assert (feature(shots[::-1]) == whole[::-1]).all()


def test_the_features_are_what_the_middle_block_returns(models, shots) -> None:
    backbone: Any = bigain.load(str(models["pixels"]), device="cpu")
    feature: Any = load_feature("backbone", backbone)
    before = {id(module): len(module._forward_hooks) for module in backbone.network.modules()}
    found = feature(shots[:2])
    assert before == {id(module): len(module._forward_hooks) for module in backbone.network.modules()}
    seen: list[torch.Tensor] = []
    handle = backbone.network.mid_block.register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.inference_mode():
        clean = torch.stack([backbone.encode(shot) for shot in shots[:2]])
        for t in feature.times:
            backbone.noise(feature._noisy(clean, t), torch.tensor([t, t]), backbone.condition(["", ""]))
    handle.remove()
    assert feature.times == (50, 150)
    assert found == pytest.approx(torch.cat([part.mean((2, 3)) for part in seen], 1).numpy(), abs=1e-5)


def test_the_name_identifies_the_weights(models) -> None:
    names = {load_feature("backbone", bigain.load(str(models[kind]), device="cpu")).name for kind in ("pixels", "v")}
    assert len(names) == 2
    identity = bigain.load(str(models["pixels"]), device="cpu").identity
    assert f"{models['pixels']}:mid@t=50,150 (weights {identity})" in names
    assert not any("FID" in name for name in names)


def test_features_of_images_generated_on_demand_are_those_of_the_uncompressed_network(models) -> None:
    backbone = bigain.load(str(models["pixels"]), device="cpu")
    feature = load_feature("backbone", backbone)

    def generated() -> Any:
        return (sample.image for sample in bigain.generate(backbone, "cat", count=5, steps=2, compress="tome:0.7"))

    assert (feature(generated()) == feature(list(generated()))).all()


def test_a_compressed_network_gives_no_features(models, shots) -> None:
    backbone = bigain.load(str(models["pixels"]), device="cpu")
    feature = load_feature("backbone", backbone)
    with compressed(backbone, "tome:0.7", steps=1000), pytest.raises(UsageError, match="its network is compressed"):
        feature(shots[:2])


def test_a_closed_form_has_no_middle_block() -> None:
    with pytest.raises(ModelError, match="model colours: no network with a middle block"):
        load_feature("backbone", bigain.load("colours"))


def test_an_unknown_feature_is_named() -> None:
    with pytest.raises(UsageError, match=r"feature incepton: unknown. Did you mean inception\?"):
        load_feature("incepton", bigain.load("colours"))


def test_inception_is_never_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError, match=r"no weights at .*inception_v3.*, and none are fetched"):
        load_feature("inception", bigain.load("colours"))


def test_broken_inception_weights_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "inception_v3_google-0cc3c7bd.pth").write_bytes(b"half a file")
    with pytest.raises(ModelError, match="is broken"):
        load_feature("inception", bigain.load("colours"))


@pytest.mark.slow
def test_inception_sees_each_image_on_its_own(tmp_path, shots, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import inception_v3

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("bigain_cli.evaluation.image_features.digest_of", lambda path: "0cc3c7bd")
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "inception_v3_google-0cc3c7bd.pth"
    torch.save(inception_v3(weights=None, init_weights=False).state_dict(), path)
    feature = load_feature("inception", bigain.load("colours"))
    found = feature(shots[:9])
    assert found.shape == (9, 2048)
    assert (feature(shots[8:9]) == found[8:]).all()
    assert "not those of the original FID" in feature.name


# The whole.


def test_images_in_numbers_out(shots) -> None:
    found = bigain.compare(shots[:13], iter(shots[13:]), Means())
    assert list(found.to_dict()) == list(MEASURES)
    for name, record in json.loads(json.dumps(found.to_dict())).items():
        assert set(record) == {"measure", "feature", "generated", "real", "value", "low", "high"}
        assert (record["measure"], record["feature"], record["generated"], record["real"]) == (name, "means", 13, 14)
