"""Error rates and coverage of the intervals, measured on oracles that know the truth."""

from __future__ import annotations

from itertools import repeat

import numpy as np
import pytest
import torch
from many_races import ALPHA, LAWS, equal_labels, even_times, race_many
from oracle import Tables, eliminate, error_tables, mixture
from scipy import stats

from bigain_cli import StoppingRules
from bigain_cli.classification.bounded_gaps import betting_half_widths
from bigain_cli.classification.confidence import Spread, alpha_of_check, t_quantile
from bigain_cli.noise_draws import Draws, radical_inverse

RACES = 2000
WORST = ("one label's lognormal, sigma 1.5", "3 % of the draws carry one label's, 1")  # of ten labels
ENOUGH = StoppingRules(draws=128)


@pytest.fixture(scope="module")
def hard() -> Tables:
    """A hundred images of ten classes that lie close together, with 1000 draws each."""
    return error_tables(mixture(per_class=1, spread=0.15), images=100, draws=1000)


def synthetic(races: int, labels: int, gap: float, draws: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Make errors, and times: strong common noise, heavy-tailed noise of each label, gaps that vary with time."""
    rng = np.random.default_rng(labels)
    common = rng.gamma(2.0, 1.0, (races, draws, 1))
    own = rng.standard_t(4, (races, draws, labels)) * 0.05 * common
    times = even_times(races, draws, rng)
    return common + own + 2 * times[:, :, None] * gap * np.arange(labels), times


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


def test_many_races_at_once_go_as_each_alone() -> None:
    tables, times = synthetic(20, labels=6, gap=0.06)
    for least_draws in (16, 128):
        together = race_many(tables, times, least_draws)
        rules = StoppingRules(draws=128, least_draws=least_draws)
        alone = [eliminate(table, rules, t) for table, t in zip(tables, times, strict=True)]
        assert together.settled.any() and not together.settled.all()
        assert together.settled.tolist() == [found.settled for found in alone]
        assert together.winner.tolist() == [int(found.label) for found in alone]
        assert together.evaluations.tolist() == [found.evaluations for found in alone]


@pytest.mark.parametrize(
    ("law", "labels"), [*((law, 2) for law in LAWS), *(pytest.param(law, 10, marks=pytest.mark.slow) for law in WORST)]
)
def test_equal_labels_are_settled_at_most_alpha_of_the_time(law: str, labels: int, capsys) -> None:
    """Whatever the law, if the model was not measured to have none of these."""
    settled = race_many(*equal_labels(law, RACES, 128, labels), StoppingRules().least).settled.mean()
    with capsys.disabled():
        print(f"\n{labels} equal labels, {law}: {settled:.1%} of {RACES} races settled", end="")
    assert settled <= ALPHA


@pytest.mark.parametrize("law", [law for law in LAWS if "3 % of the draws" not in law and "1.5" not in law])
def test_without_rare_draws_a_few_are_enough(law: str, capsys) -> None:
    """The embedded models settle from 16 draws on; only what can hardly be seen in 32 draws deceives them."""
    settled = race_many(*equal_labels(law, RACES, 32, 2), 16).settled.mean()
    with capsys.disabled():
        print(f"\n2 equal labels, {law}, 16 to 32 draws: {settled:.1%} of {RACES} races settled", end="")
    assert settled <= ALPHA


def test_a_rare_draw_keeps_an_answer_open_that_seems_clear() -> None:
    """Twenty draws that agree, and one that says more against them than all together: the race goes on."""
    losses = np.stack([np.zeros(128), 1 + 0.1 * np.random.default_rng(0).standard_normal(128)], axis=1)
    assert eliminate(losses, StoppingRules(draws=128)).settled
    for most in (16, 64, 120):
        assert not eliminate(losses, StoppingRules(draws=most)).settled, "rarer draws may still come"
        assert eliminate(losses, StoppingRules(draws=most, least_draws=16)).settled
    losses[20, 0] = 150
    assert not eliminate(losses, StoppingRules(draws=128)).settled


@pytest.mark.parametrize("labels", [2, 10])
def test_a_wrong_label_wins_by_elimination_at_most_alpha_of_the_time(labels: int, capsys) -> None:
    for least_draws in (16, 128):
        found = race_many(*synthetic(RACES // 2, labels, gap=0.1), least_draws)
        wrong = (found.settled & (found.winner != 0)).mean()
        with capsys.disabled():
            print(f"\n{labels} labels: {wrong:.1%} won by a wrong label, {found.settled.mean():.1%} settled", end="")
        assert found.settled.mean() > 1 / 4, "a race that never settles is never wrong"
        assert wrong <= ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.0, 0.05, 0.2])
def test_the_best_of_a_thousand_labels_is_seldom_dropped(gap: float, capsys) -> None:
    """The others are worse by up to the gap, in standard deviations of a difference's noise."""
    dropped = 0
    for part in range(RACES // 50):
        rng = np.random.default_rng(part)
        losses = rng.standard_normal((50, 32, 1000))
        losses[:, :, 1:] += gap * rng.random((50, 1, 999))
        dropped += (~race_many(losses, even_times(50, 32, rng), 16).remaining[:, 0]).sum()
    with capsys.disabled():
        print(f"\nthe best of 1,000 labels, gaps up to {gap}: dropped in {dropped} of {RACES} races")
    assert dropped / RACES <= ALPHA


@pytest.mark.slow
def test_the_interval_covers_at_its_nominal_rate(hard: Tables, capsys) -> None:
    for schedule in ("race", "fixed", "ttest"):
        covered = 0
        for errors, times in zip(hard.errors, hard.times, strict=True):
            outcome = eliminate(errors, StoppingRules(schedule), times)
            truth = errors[:, int(outcome.runner_up)].mean() - errors[:, int(outcome.label)].mean()
            low, high = outcome.gap_interval
            covered += low <= truth <= high
        with capsys.disabled():
            print(f"\n{schedule}: the gap's interval covers {covered} of {len(hard.errors)}")
        assert covered / len(hard.errors) >= 0.95


def test_synthetic_gaps_are_covered_too() -> None:
    covered = 0
    for errors, times in zip(*synthetic(200, 3, gap=0.1), strict=True):
        outcome = eliminate(errors, ENOUGH, times)
        truth = 0.1 * (int(outcome.runner_up) - int(outcome.label))
        covered += outcome.gap_interval[0] <= truth <= outcome.gap_interval[1]
    assert covered >= 0.95 * 200


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_races_on_the_oracle_are_wrong_at_most_alpha_of_the_time(spread: float, capsys) -> None:
    """A thousand images of a mixture, real draws; 400 further draws of each tell which label is best, if any is."""
    images = 1000
    model = mixture(classes=3, per_class=1, spread=spread)
    raced = error_tables(model, images, 128)
    truth = error_tables(model, images, 400, seed=1, like=0).errors.mean(axis=1) if spread else np.zeros((images, 3))
    outcomes = [eliminate(*table) for table in zip(raced.errors, repeat(ENOUGH), raced.times, strict=False)]
    decided = sum(outcome.settled for outcome in outcomes)
    best = truth.argmin(axis=1)
    wrong = sum(o.settled and (not spread or int(o.label) != b) for o, b in zip(outcomes, best, strict=True))
    covered = sum(
        o.gap_interval[0] <= gap[int(o.runner_up)] - gap[int(o.label)] <= o.gap_interval[1]
        for o, gap in zip(outcomes, truth, strict=True)
    )
    with capsys.disabled():
        print(f"\noracle, means {spread} apart: {decided} of {images} settled, {wrong} wrong, {covered} gaps covered")
    assert wrong / images <= ALPHA
    assert covered / images >= 1 - ALPHA


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_intervals_of_votes_hold_at_any_number_of_draws(share: float) -> None:
    """Also when all are equal, and when they depend on the time: in the mean over the times drawn."""
    rng = np.random.default_rng(0)
    for chance in (np.full((32, 1), share), np.clip(2 * share * np.linspace(0, 1, 32)[:, None], 0, 1)):
        truth = 2 * chance.mean() - 1
        for draws in (8, 16, 32):
            votes = np.where(rng.random((draws, RACES)) < chance[:: 32 // draws], 1.0, -1.0)
            truth = 2 * chance[:: 32 // draws].mean() - 1
            missed = np.abs(votes.mean(axis=0) - truth) > betting_half_widths(votes, ALPHA)
            assert missed.mean() <= 2 * ALPHA


def test_votes_settle_an_answer_from_few_draws() -> None:
    for seed in range(20):
        first = np.random.default_rng(seed).random(128) < 0.9
        errors = np.stack([np.where(first, 0.0, 1.0), np.where(first, 1.0, 0.0)], axis=1)
        outcome = eliminate(errors, StoppingRules(score="vote", draws=128))
        assert outcome.settled and outcome.draws <= 64
        assert outcome.gap_interval[0] <= 0.8 <= outcome.gap_interval[1] + 1e-9 or outcome.gap > 0.8


def test_fewer_than_eight_draws_give_no_interval() -> None:
    errors = synthetic(1, 3, gap=1.0)[0][0]
    assert eliminate(errors, StoppingRules(draws=7)).gap_interval is None
    assert eliminate(errors, StoppingRules(draws=8)).gap_interval is not None


def stages(errors: np.ndarray) -> tuple[int, float]:
    """Run the published two stages (25 draws for all, the five best up to 250); return label and cost per label."""
    finalists = np.argsort(errors[:25].mean(axis=0))[:5]
    winner = finalists[errors[:250, finalists].mean(axis=0).argmin()]
    return int(winner), (25 * errors.shape[1] + 225 * 5) / errors.shape[1]


@pytest.mark.slow
def test_the_race_takes_at_most_half_of_the_published_stages_for_the_same_agreement(hard: Tables, capsys) -> None:
    outcomes = [eliminate(*table) for table in zip(hard.errors, repeat(StoppingRules()), hard.times, strict=False)]
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
            assert t_quantile(1 - probability, np.array(freedom)) == pytest.approx(
                stats.t.ppf(probability, freedom), rel=1e-3
            )
    for freedom in (1, 3, 8):
        for alpha in (1e-2, 1e-4, 1e-6):
            assert t_quantile(alpha, np.array(freedom)) >= stats.t.isf(alpha, freedom)


def test_the_checks_of_a_race_share_its_error_probability() -> None:
    """In sum over all checks, for independent ones; correlated checks get at least as much."""
    draws = [8 * check for check in range(1, 1 << 14)]
    assert 0.99 < sum(alpha_of_check(n, ALPHA, independent=True) for n in draws) / ALPHA <= 1
    assert all(alpha_of_check(n, ALPHA) >= alpha_of_check(n, ALPHA, independent=True) for n in draws[:64])


def test_a_paths_many_checks_cross_its_bounds_as_seldom_as_they_should() -> None:
    """Sums of normal variables with known variance, up to 1,024 draws: what correlated checks share is enough."""
    sums = np.random.default_rng(0).standard_normal((20 * RACES, 128)).cumsum(axis=1) / np.sqrt(np.arange(1, 129))
    bounds = [stats.norm.isf(alpha_of_check(8 * check, ALPHA)) for check in range(1, 129)]
    crossed = (sums > bounds).any(axis=1).mean()
    assert 0.5 * ALPHA < crossed <= ALPHA


def test_standard_errors_leave_out_what_lies_between_times() -> None:
    """Over many shifts of the times, a standard error is the true spread; of all draws it would be thrice that."""
    rng = np.random.default_rng(0)
    t = even_times(RACES, 32, rng)
    losses = np.stack([np.zeros_like(t), 4 * t + 0.4 * rng.standard_normal(t.shape)], axis=2)
    spreads = [Spread.of(table, times) for table, times in zip(losses, t, strict=True)]
    errors = np.array([np.hypot((each.variance[1] / 32) ** 0.5, each.drift[1]) for each in spreads])
    means = losses[:, :, 1].mean(axis=1)
    assert 0.95 <= errors.mean() / means.std() < 1.4
    assert losses[:, :, 1].std(axis=1).mean() / 32**0.5 > 2 * means.std()


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
