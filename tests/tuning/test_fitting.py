"""Tuning on tables that are known: what is wrong with a model is found, and nothing is found where there is nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bigain_cli.classification.tuned_losses import never_negative, polynomials, tuned_losses, weights_at
from bigain_cli.tuning.cross_validation import FOLDS, cross_validated, folds_of
from bigain_cli.tuning.fitting import Choice, Fitted, fit, gaps_of, log_losses, regression
from bigain_cli.tuning.recorded_errors import RecordedErrors, errors_of_labels, prompt_groups

LABELS, DRAWS = 4, 16


def table(
    per_class: int,
    signal: float = 0.02,
    bias: float = 0.0,
    early: bool = False,
    seed: int = 0,
    ways: int = 1,
) -> RecordedErrors:
    """Return errors in which the true label is `signal` lower, early draws alone if asked; label 0 is `bias` lower."""
    generator = np.random.default_rng(seed)
    truth = np.tile(np.arange(LABELS), per_class)
    times = (np.arange(DRAWS) + generator.random((len(truth), 1))) % DRAWS / DRAWS
    errors = (
        1
        + generator.normal(0, 0.01, (ways, len(truth), 1, LABELS))
        + generator.normal(0, 0.01, (ways, len(truth), DRAWS, LABELS))
    )
    if early:  # late draws are noise that images carry with them
        errors += 2 * (times[..., None] > 0.5) * generator.normal(0, 0.03, (len(truth), 1, LABELS))
    lower = signal * (2 * (times < 0.5) if early else np.ones_like(times))
    for image, label in enumerate(truth):
        errors[-1, image, :, label] -= lower[image]
    errors[..., 0] -= bias
    names = tuple(f"label {number}" for number in range(LABELS))
    return RecordedErrors(errors, times, truth, names, tuple(f"way {way} {{}}" for way in range(1, ways)))


BASE = Fitted("l2", 0.01)


def kept(data: RecordedErrors, baseline: Fitted = BASE) -> list[str]:
    return [step.part for step in cross_validated(data, baseline, 0).steps if step.kept]


def test_a_bias_is_found_and_taken_off() -> None:
    data = table(12, bias=0.02)
    found = cross_validated(data, BASE, 0)
    assert "label bias" in kept(data) and not found.why_refused
    assert found.after.accuracy > found.before.accuracy and found.after.log_loss < found.before.log_loss
    fitted = fit(found.choice, BASE, data, np.arange(len(data)))
    assert fitted.bias is not None and fitted.bias[0] > 0.008 and fitted.bias.sum() == pytest.approx(0, abs=1e-9)


def test_draws_that_tell_nothing_get_less_weight() -> None:
    data = table(16, early=True)
    found = cross_validated(data, BASE, 0)
    fitted = fit(found.choice, BASE, data, np.arange(len(data)))
    early, late = weights_at(np.array([0.1, 0.9]), list(fitted.coefficients))
    assert any("time weights" in part for part in kept(data)) and early > 1.3 > 0.7 > late >= 0


def test_the_better_template_is_chosen() -> None:
    data = table(12, ways=2)  # only the last way of making prompts says which label is right
    found = cross_validated(data, BASE, 0)
    fitted = fit(found.choice, BASE, data, np.arange(len(data)))
    assert "template" in kept(data) and data.templates_of(fitted.variant) == ("way 1 {}",)


def test_a_temperature_that_is_far_off_is_corrected() -> None:
    for wrong in (1e-5, 1.0):
        found = cross_validated(table(12, signal=0.01), Fitted("l2", wrong), 0)
        assert found.steps[0].kept and found.after.log_loss < found.before.log_loss


@pytest.mark.parametrize("per_class", [5, pytest.param(16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("temperature", [0.01, None])
def test_a_network_that_knows_nothing_gets_no_profile(per_class: int, temperature: float | None) -> None:
    for seed in range(2):
        for bias in (0.0, 0.02):
            found = cross_validated(table(per_class, 0, bias, seed=seed), Fitted("l2", temperature), seed)
            assert found.why_refused


def test_answers_are_those_of_the_estimators() -> None:
    from bigain_cli.classification.estimators import leader_of, mean_square, probabilities

    data = table(5)
    ours = BASE.probabilities(data, np.arange(len(data)))
    for row, errors in zip(ours, data.errors[0], strict=True):
        losses = mean_square(errors)
        leader = leader_of(losses, np.ones(LABELS, bool), np.arange(LABELS))
        assert row == pytest.approx(probabilities(losses, leader, 0.01))


def test_folds_are_disjoint_and_spread_every_class() -> None:
    truth = np.repeat(np.arange(7), 5)
    folds = folds_of(truth, 3)
    assert (np.sort(np.unique(folds)) == np.arange(FOLDS)).all() and (folds == folds_of(truth, 3)).all()
    for label in range(7):
        assert len(set(folds[truth == label])) == FOLDS


def test_what_is_left_out_changes_no_fit() -> None:
    data, inside = table(8, bias=0.02), np.arange(20)
    changed = dataclasses.replace(data, errors=data.errors.copy(), temperatures={}, _losses={})
    changed.errors[:, 20:] += 5
    choice = Choice(temperature=True, score=True, degree=3, bias=True)
    one, other = fit(choice, BASE, data, inside), fit(choice, BASE, changed, inside)
    assert one.temperature == other.temperature and (one.coefficients == other.coefficients).all()


def test_the_regression_is_where_its_derivatives_vanish() -> None:
    data = table(10, bias=0.01)
    moments = data.moments((0,), "l2")
    slopes, bias = regression(moments, data.truth, 0.01, True)
    for place in range(len(slopes)):
        for step in (-0.5, 0.5):
            moved = slopes.copy()
            moved[place] += step
            assert objective(moments, data.truth, moved, bias) >= objective(moments, data.truth, slopes, bias)
    _, without = regression(moments, data.truth, 0.01, False)
    assert (without == 0).all()


def objective(moments: np.ndarray, truth: np.ndarray, slopes: np.ndarray, bias: np.ndarray) -> float:
    logits = -np.einsum("j,jik->ik", slopes, moments) - bias
    shares = np.exp(logits - logits.max(1, keepdims=True))
    prior = ((slopes[1:] * 0.01) ** 2).sum() / 2 + (bias**2).sum() / (2 * 0.5**2)
    return float(log_losses(shares / shares.sum(1, keepdims=True), truth).sum() + prior)


def test_weights_have_a_mean_of_one_and_are_never_negative() -> None:
    times = (np.arange(4000) + 0.5) / 4000
    assert polynomials(times).mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-6)
    for coefficients in ([0.5], [3.0, -2.0], [-4.0, 1.0, 2.0]):
        kept = never_negative(np.array(coefficients))
        assert weights_at(times, list(kept)).min() >= -1e-5
        assert weights_at(times, list(kept)).mean() == pytest.approx(1, abs=1e-6)
    assert (never_negative(np.array([0.5])) == [0.5]).all()


def test_bias_moves_gaps_and_leaves_their_errors() -> None:
    from bigain_cli.classification.profiles import Profile

    data = table(5)
    profile = Profile("w", "l2", 0.01, bias={"label 0": 0.1, "label 1": -0.1, "label 2": 0, "label 3": 0})
    plain = data.errors[0, 0]
    moved = tuned_losses(plain, data.times[0], data.labels, profile)
    assert moved - plain == pytest.approx(np.tile([0.1, -0.1, 0, 0], (DRAWS, 1)))
    assert gaps_of(plain[None])[1].shape == (1, LABELS)


def test_prompts_of_several_ways_are_evaluated_once() -> None:
    prompts, groups = prompt_groups([[["a"], ["b", "c"]], [["a"], ["d"]]])
    assert prompts == ["a", "b", "c", "d"] and groups == [[[0], [1, 2]], [[0], [3]]]
    found = errors_of_labels(np.array([[1.0, 2.0, 4.0, 7.0]]), groups)
    assert found.tolist() == [[[1.0, 3.0]], [[1.0, 7.0]]]
