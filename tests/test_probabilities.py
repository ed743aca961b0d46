"""What the probabilities mean: how sure the draws are, or, with a fitted temperature, how often a label is right."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import bigain_cli as bigain
from bigain_cli.backbones.model_card import ModelCard
from bigain_cli.backbones.model_locations import model_folder
from bigain_cli.classification.estimators import fitted_temperature, gap_softmax, never_rising, probabilities
from bigain_cli.registry import MODELS


def sampled_gaps(
    temperature: float, noise: float = 0.0, count: int = 4000, labels: int = 6, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sample gaps with standard errors, and true labels with the probabilities that a temperature gives them."""
    random = np.random.default_rng(seed)
    gaps = random.exponential(1.0, (count, labels))
    gaps -= gaps.min(axis=1, keepdims=True)
    errors = noise * random.exponential(1.0, gaps.shape) * (gaps > 0)
    shares = gap_softmax(np.hypot(temperature, errors), gaps)
    truth = (shares.cumsum(axis=1) < random.random((count, 1))).sum(axis=1)
    return gaps, errors, truth.clip(max=labels - 1)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("unit", [1.0, 1e-4])
def test_the_temperature_that_made_the_truths_is_found(temperature: float, noise: float, unit: float) -> None:
    gaps, errors, truth = sampled_gaps(temperature, noise)
    found = fitted_temperature(gaps * unit, errors * unit, truth)
    assert found == pytest.approx(temperature * unit, rel=0.1 if noise < temperature else 0.2)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_fitted_temperature_has_the_least_log_loss(noise: float) -> None:
    gaps, errors, truth = sampled_gaps(0.4, noise, count=300)
    found = fitted_temperature(gaps, errors, truth)
    assert found is not None

    def loss(temperature: float) -> float:
        shares = gap_softmax(np.hypot(temperature, errors), gaps)
        return float(-np.log(shares[np.arange(300), truth]).mean())

    assert loss(found) < loss(found * 1.1) and loss(found) < loss(found / 1.1)


def test_gaps_without_information_fit_no_temperature() -> None:
    gaps, errors, truth = sampled_gaps(0.3, 0.1)
    assert fitted_temperature(np.zeros_like(gaps), errors, truth) is None
    assert fitted_temperature(gaps, errors, gaps.argmax(axis=1)) is None


def test_few_images_without_a_mistake_do_not_make_all_probabilities_one() -> None:
    gaps, errors, _ = sampled_gaps(0.3, count=20)
    found = fitted_temperature(gaps, errors, gaps.argmin(axis=1))
    assert found is not None and gap_softmax(found, gaps).max(axis=1).mean() < 0.98


@settings(max_examples=60, deadline=None)
@given(
    losses=st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=9),
    temperature=st.one_of(st.none(), st.floats(1e-6, 1e6)),
)
def test_probabilities_sum_to_one_and_the_leader_has_the_largest(losses: Any, temperature: float | None) -> None:
    table = np.array(losses)
    leader = int(table.sum(axis=0).argmin())
    shares = probabilities(table, leader, temperature)
    assert shares.sum() == pytest.approx(1) and np.isfinite(shares).all()
    assert shares[leader] == shares.max()


def test_with_a_temperature_the_gap_and_its_standard_error_count() -> None:
    precise, noisy = np.array([[0.0, 1.0]] * 8), np.array([[0.0, 4.0], [0.0, -2.0]] * 4)
    assert probabilities(precise, 0, 0.5) == pytest.approx(gap_softmax(0.5, np.array([0.0, 1.0])))
    error = np.sqrt(9 * 8 / 7 / 8)
    assert probabilities(noisy, 0, 0.5) == pytest.approx(gap_softmax(np.hypot(0.5, [0, error]), np.array([0.0, 1.0])))
    assert probabilities(precise, 0, None)[0] > probabilities(noisy, 0, None)[0]


def test_more_draws_raise_the_probability_up_to_the_limit_of_the_temperature() -> None:
    found = [probabilities(np.array([[0.0, 2.0], [0.0, 0.0]] * half), 0, 0.5)[0] for half in (2, 8, 32, 8192)]
    assert found == sorted(found) and len(set(found)) == 4
    assert found[-1] == pytest.approx(gap_softmax(0.5, np.array([0.0, 1.0]))[0], rel=1e-3)


def test_a_single_draws_standard_error_is_its_gap() -> None:
    shares = probabilities(np.array([[0.0, 1e6]]), 0, 1.0)
    assert shares[0] == pytest.approx(1 / (1 + np.exp(-1)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_what_never_rises_is_the_nearest_such_sequence(values: list[float]) -> None:
    found = never_rising(np.array(values))
    assert (np.diff(found) <= 1e-12).all() and found.sum() == pytest.approx(sum(values))
    for start in np.unique(found, return_index=True)[1]:
        block = np.flatnonzero(found == found[start])
        means = np.cumsum(np.array(values)[block]) / np.arange(1, len(block) + 1)
        assert (means <= found[start] + 1e-9).all(), "a block that could be split into a falling one would be"


def test_dropped_labels_are_compared_over_their_own_draws() -> None:
    table = np.array([[0.0, 1.0, 2.0]] * 4 + [[0.0, 1.0, np.nan]] * 4)
    assert probabilities(table, 0, 1.0) == pytest.approx(gap_softmax(1.0, np.array([0.0, 1.0, 2.0])))


@pytest.fixture
def with_temperature(tmp_path: Path) -> Path:
    """Copy the embedded model, with another temperature."""
    folder = tmp_path / "warm"
    shutil.copytree(model_folder(MODELS["mini"]), folder)
    card = json.loads((folder / "bigain.json").read_text())
    (folder / "bigain.json").write_text(json.dumps({**card, "temperature": 0.002, "score": "norm"}))
    return folder


def test_a_models_temperature_is_used_and_recorded_under_its_own_score_alone(with_temperature: Path) -> None:
    backbone = bigain.load(str(with_temperature), device="cpu")
    image = Image.effect_noise((32, 32), 90).convert("RGB")
    results = {}
    for score in ("norm", "l1"):
        rules = bigain.StoppingRules(score=score, draws=8)
        (results[score],) = bigain.classify(backbone, image, ["cat", "ship", "frog"], rules=rules)
    own, other = results["norm"], results["l1"]
    assert own.settings["temperature"] == 0.002 and "temperature" not in other.settings
    gaps, errors = (np.array([getattr(label, part) for label in own.ranked]) for part in ("gap", "standard_error"))
    assert (errors[1:] > 0).all()
    wanted = gap_softmax(np.hypot(0.002, errors), gaps)
    assert [label.probability for label in own.ranked] == pytest.approx(list(never_rising(wanted)))


def test_another_temperature_has_another_fingerprint(with_temperature: Path) -> None:
    backbone = bigain.load(str(with_temperature), device="cpu")
    fingerprints = set()
    for temperature in (0.002, 0.003, None):
        backbone.temperature = temperature
        fingerprints.add(bigain.Classification(backbone, ["cat", "ship"]).settings["fingerprint"])
    assert len(fingerprints) == 3


def test_the_validation_fits_a_temperature_if_there_are_enough_images(
    with_temperature: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from bigain_cli.backbones.vocabulary import PromptVocabulary
    from bigain_cli.training import validation
    from bigain_cli.training.image_tensors import LabelledImages

    backbone = bigain.load(str(with_temperature), device="cpu")
    card = ModelCard.read(with_temperature)
    phrases = PromptVocabulary(dict(list(card.classes.items())[:2]), card.templates)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, 3, 32, 32), generator=generator, dtype=torch.uint8)
    images = LabelledImages(pixels, torch.tensor([0, 1] * 3), tuple(phrases.classes))
    monkeypatch.setattr(validation, "DRAWS", 8)
    *_, few = validation.validate(backbone, phrases, images, 6, 0)
    monkeypatch.setattr(validation, "MIN_FOR_TEMPERATURE", 5)
    *_, enough = validation.validate(backbone, phrases, images, 6, 0)
    assert few.temperature is None and dataclasses.replace(enough, temperature=None) == few
    assert enough.temperature is None or enough.temperature > 0
