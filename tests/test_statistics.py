"""Error rates and coverage of the intervals, measured on oracles that know the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle import Tables, eliminate, error_tables, mixture
from scipy import stats

from bigain_cli import StoppingRules
from bigain_cli.classification import estimators
from bigain_cli.noise_draws import Draws, radical_inverse

RACES = 2000
ALPHA = 0.05
ENOUGH = StoppingRules(draws=128)


@pytest.fixture(scope="module")
def hard() -> Tables:
    """A hundred images of ten classes that lie close together, with 1000 draws each."""
    return error_tables(mixture(per_class=1, spread=0.15), images=100, draws=1000)


def synthetic(seed: int, labels: int, gap: float, draws: int = 128) -> np.ndarray:
    """Make one image's errors: strong common noise, weaker heavy-tailed noise of each label, gaps that vary with t."""
    rng = np.random.default_rng(seed)
    common = rng.gamma(2.0, 1.0, (draws, 1))
    own = rng.standard_t(4, (draws, labels)) * 0.05 * common
    shape = rng.uniform(0, 2, (draws, 1))
    return common + own + shape * gap * np.arange(labels)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample", "flow"])
def test_all_parametrisations_of_one_oracle_give_the_same_scores(prediction: str) -> None:
    reference = error_tables(mixture(prediction="epsilon"), images=8, draws=64)
    other = error_tables(mixture(prediction=prediction), images=8, draws=64)
    np.testing.assert_allclose(other.errors.mean(axis=1), reference.errors.mean(axis=1), rtol=1e-5, atol=1e-5)


def test_the_oracle_finds_the_class_that_the_exact_likelihood_finds() -> None:
    model = mixture(spread=0.3)
    sampled = error_tables(model, images=100, draws=128)
    exact = model.log_likelihood(sampled.clean).argmax(1).numpy()
    assert (sampled.best == exact).mean() >= 0.95


def test_times_of_every_prefix_are_spread_evenly() -> None:
    for count in (1, 3, 8, 20, 64, 128):
        for image in range(20):
            times = np.sort(Draws(0, bytes([image]), (1,)).block(0, count).t.numpy()) / 1000
            steps = np.arange(count) / count
            discrepancy = max(np.abs(times - steps).max(), np.abs(times - steps - 1 / count).max())
            assert discrepancy <= (np.log2(count) + 4) / (2 * count) + 1e-3
    assert [radical_inverse(index) for index in range(5)] == [0, 0.5, 0.25, 0.75, 0.125]


@pytest.mark.slow
def test_prefix_means_are_unbiased(hard: Tables) -> None:
    """Over images, the mean gap of the first n draws differs from that of all draws by no more than chance."""
    gaps = hard.errors - hard.errors.mean(axis=2, keepdims=True)
    for count in (1, 4, 8, 16, 64):
        bias = gaps[:, :count].mean(axis=1) - gaps.mean(axis=1)  # [images labels]
        z = bias.mean(axis=0) / (bias.std(axis=0, ddof=1) / np.sqrt(len(bias)))
        assert np.abs(z).max() < 4, (count, z)


@pytest.mark.parametrize("labels", [2, 10])
def test_equal_classes_are_settled_at_most_alpha_of_the_time(labels: int, capsys) -> None:
    wrong = sum(eliminate(synthetic(seed, labels, gap=0.0), ENOUGH).settled for seed in range(RACES))
    with capsys.disabled():
        print(f"\n{labels} equal labels: {wrong} of {RACES} races settled (at most {ALPHA:.0%} expected)")
    assert wrong / RACES <= ALPHA


@pytest.mark.parametrize("labels", [2, 10])
def test_a_wrong_label_wins_by_elimination_at_most_alpha_of_the_time(labels: int, capsys) -> None:
    outcomes = [eliminate(synthetic(seed, labels, gap=0.1), ENOUGH) for seed in range(RACES)]
    wrong = sum(outcome.settled and outcome.label != "0" for outcome in outcomes)
    decided = sum(outcome.settled for outcome in outcomes)
    with capsys.disabled():
        print(f"\n{labels} labels: {wrong} of {RACES} races won by a wrong label, {decided} settled")
    assert decided > RACES / 4, "a race that never decides is never wrong"
    assert wrong / RACES <= ALPHA


@pytest.mark.slow
def test_the_interval_covers_at_its_nominal_rate(hard: Tables, capsys) -> None:
    for schedule in ("race", "fixed", "ttest"):
        covered = 0
        for errors in hard.errors:
            outcome = eliminate(errors, StoppingRules(schedule))
            truth = errors[:, int(outcome.runner_up)].mean() - errors[:, int(outcome.label)].mean()
            low, high = outcome.gap_interval
            covered += low <= truth <= high
        with capsys.disabled():
            print(f"\n{schedule}: the gap's interval covers {covered} of {len(hard.errors)}")
        assert covered / len(hard.errors) >= 0.95


def test_synthetic_gaps_are_covered_too() -> None:
    covered = 0
    for seed in range(500):
        outcome = eliminate(synthetic(seed, 3, gap=0.1), ENOUGH)
        truth = 0.1 * (int(outcome.runner_up) - int(outcome.label))
        covered += outcome.gap_interval[0] <= truth <= outcome.gap_interval[1]
    assert covered >= 0.95 * 500


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.03, 0.06])
def test_races_on_the_oracle_are_wrong_at_most_alpha_of_the_time(spread: float, capsys) -> None:
    """Two thousand images of a mixture, real draws; the truth comes from 1,000 further draws of each image."""
    model = mixture(classes=3, per_class=1, spread=spread)
    raced, further = error_tables(model, RACES, 128), error_tables(model, RACES, 1000, seed=1, like=0)
    outcomes = [eliminate(errors, ENOUGH) for errors in raced.errors]
    decided = sum(outcome.settled for outcome in outcomes)
    wrong = sum(
        o.settled and (spread == 0 or int(o.label) != best) for o, best in zip(outcomes, further.best, strict=True)
    )
    gaps = [further.errors[i].mean(axis=0) for i in range(RACES)]
    covered = sum(
        o.gap_interval[0] <= gap[int(o.runner_up)] - gap[int(o.label)] <= o.gap_interval[1]
        for o, gap in zip(outcomes, gaps, strict=True)
    )
    with capsys.disabled():
        print(
            f"\noracle, means {spread} apart: {decided} of {RACES} races settled, {wrong} wrong, {covered} gaps covered"
        )
    assert wrong / RACES <= ALPHA
    assert covered / RACES >= 1 - ALPHA


def test_votes_are_covered_although_they_may_all_be_equal() -> None:
    covered = decided = 0
    for seed in range(1000):
        first = np.random.default_rng(seed).random(128) < 0.9
        errors = np.stack([np.where(first, 0.0, 1.0), np.where(first, 1.0, 0.0)], axis=1)
        outcome = eliminate(errors, StoppingRules(score="vote", draws=128))
        truth = 0.8 if outcome.label == "0" else -0.8
        covered += outcome.gap_interval[0] <= truth <= outcome.gap_interval[1]
        decided += outcome.settled
    assert decided == 1000 and covered >= 950


def test_fewer_than_eight_draws_give_no_interval() -> None:
    assert eliminate(synthetic(0, 3, gap=1.0), StoppingRules(draws=7)).gap_interval is None
    assert eliminate(synthetic(0, 3, gap=1.0), StoppingRules(draws=8)).gap_interval is not None


def stages(errors: np.ndarray) -> tuple[int, float]:
    """Run the published two stages (25 draws for all, the five best up to 250); return label and cost per label."""
    finalists = np.argsort(errors[:25].mean(axis=0))[:5]
    winner = finalists[errors[:250, finalists].mean(axis=0).argmin()]
    return int(winner), (25 * errors.shape[1] + 225 * 5) / errors.shape[1]


@pytest.mark.slow
def test_the_race_takes_at_most_half_of_the_published_stages_for_the_same_agreement(hard: Tables, capsys) -> None:
    outcomes = [eliminate(errors, StoppingRules()) for errors in hard.errors]
    race = np.array([int(outcome.label) for outcome in outcomes]) == hard.best
    cost = np.mean([outcome.evaluations for outcome in outcomes]) / 10
    played = [stages(errors) for errors in hard.errors]
    published = np.array([label for label, _ in played]) == hard.best
    difference = race.astype(float) - published
    error = difference.std(ddof=1) / np.sqrt(len(race))
    with capsys.disabled():
        print(f"\nagreement with 1000 draws, n = {len(race)}, and evaluations per label:")
        print(
            f"race {race.mean():.3f}, {cost:.0f}; published stages {published.mean():.3f}, {played[0][1]:.0f}; ", end=""
        )
        print(f"difference {difference.mean():+.3f} ± {1.96 * error:.3f}")
    assert cost <= played[0][1] / 2
    assert difference.mean() + 1.96 * error >= 0, "agreement must be equal within the paired interval"


def test_the_t_quantile_is_that_of_student() -> None:
    for freedom in (19, 31, 127):
        for probability in (0.95, 0.999):
            assert estimators.t_quantile(probability, freedom) == pytest.approx(
                stats.t.ppf(probability, freedom), rel=1e-3
            )


def test_shared_draws_are_what_makes_few_draws_enough() -> None:
    """With separate noise for every label, the same number of draws finds the best label much less often."""
    model = mixture(spread=0.3)
    shared = error_tables(model, images=60, draws=256)
    own = error_tables(model, images=60, draws=256, seed=0).errors.copy()
    rng = np.random.default_rng(0)
    for image in own:
        for column in range(image.shape[1]):
            image[:, column] = image[rng.permutation(len(image)), column]
    agree = [(errors[:, :32].mean(axis=1).argmin(axis=1) == shared.best).mean() for errors in (shared.errors, own)]
    assert agree[0] >= 0.9 and agree[1] <= agree[0] - 0.2


def test_draws_depend_on_seed_and_image_alone() -> None:
    draws = Draws(0, b"image", (2, 3, 3))
    whole, piece = draws.block(0, 9), draws.block(5, 2)
    assert torch.equal(whole.noise[5:7], piece.noise) and torch.equal(whole.t[5:7], piece.t)
    for other in (Draws(1, b"image", (2, 3, 3)), Draws(0, b"another", (2, 3, 3))):
        assert not torch.equal(other.block(0, 9).noise, whole.noise)
        assert not torch.equal(other.block(0, 9).t, whole.t)
        assert not torch.equal(other.block(0, 9).seeds, whole.seeds)
