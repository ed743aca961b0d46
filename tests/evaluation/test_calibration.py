"""How far probabilities can be trusted: laws of proper scores, slow loops, and counts at thresholds."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigain_cli.evaluation.calibration import (
    BINS,
    LEAST,
    SIMULATIONS,
    brier_score,
    calibration_error,
    calibration_of,
    chance_error,
    coverage,
    negative_log_likelihood,
    reliability,
    squared_error,
)
from bigain_cli.intervals import mean_interval

shares = st.sampled_from([0.0, 1.0]) | st.floats(1e-6, 1 - 1e-6)
answers = st.lists(st.tuples(st.booleans(), shares), min_size=1, max_size=60)


def probabilities(labels: int) -> st.SearchStrategy[list[float]]:
    weights = st.lists(st.floats(1e-3, 1), min_size=labels, max_size=labels)
    return weights.map(lambda found: [each / sum(found) for each in found])


pairs = st.integers(2, 8).flatmap(lambda labels: st.tuples(probabilities(labels), probabilities(labels)))


@given(st.integers(1, 8).flatmap(lambda labels: st.tuples(probabilities(labels), st.integers(0, labels - 1))))
def test_an_images_brier_score_is_the_squared_distance_to_the_truth(case: tuple[list[float], int]) -> None:
    found, true = case
    distance = sum((each - (label == true)) ** 2 for label, each in enumerate(found))
    assert squared_error(found, found[true]) == pytest.approx(distance, abs=1e-12)
    assert squared_error([1.0, 0.0], 1.0) == 0 and squared_error([1.0, 0.0], 0.0) == 2


@given(pairs)
def test_both_scores_are_proper_no_other_probabilities_are_expected_to_do_better_than_the_true_ones(
    case: tuple[list[float], list[float]],
) -> None:
    exact, other = case

    def expected(given: list[float], measure: Any) -> float:
        return sum(share * measure(given, each) for share, each in zip(exact, given, strict=True))

    def loss(_: list[float], true: float) -> float:
        return negative_log_likelihood([{"truth_probability": true}]).value

    assert expected(exact, squared_error) == pytest.approx(1 - sum(each * each for each in exact))
    assert expected(exact, loss) == pytest.approx(-sum(each * math.log(each) for each in exact))
    for measure in (squared_error, loss):
        assert expected(exact, measure) <= expected(other, measure) + 1e-12


@given(st.integers(1, 50), st.integers(1, 9))
def test_knowing_nothing_costs_the_logarithm_of_the_number_of_labels(labels: int, count: int) -> None:
    rows = [{"truth_probability": 1 / labels, "brier": squared_error([1 / labels] * labels, 1 / labels)}] * count
    found = brier_score(rows)
    assert negative_log_likelihood(rows).value == pytest.approx(math.log(labels))
    assert found is not None and found.value == pytest.approx(1 - 1 / labels)


def test_a_true_label_of_no_probability_is_a_large_finite_loss() -> None:
    found = negative_log_likelihood([{"truth_probability": 0.0}] * 2)
    assert found.value == found.high == pytest.approx(-math.log(LEAST))


@given(answers, st.lists(shares, min_size=2, max_size=5))
def test_a_higher_threshold_gives_fewer_answers_and_none_that_a_lower_one_does_not(
    cases: list[tuple[bool, float]], thresholds: list[float]
) -> None:
    right, sure = (np.array(column) for column in zip(*cases, strict=True))
    found = [coverage(right, sure, each) for each in sorted(thresholds)]
    for each in found:
        given = [hit for hit, value in cases if value >= each.min_probability]
        assert (each.answered, each.right) == (len(given), sum(given))
        assert each.share.value == len(given) / len(cases) and (each.accuracy is None) == (not given)
        assert each.accuracy is None or each.accuracy.value == pytest.approx(sum(given) / len(given))
    assert all(high.answered <= low.answered and high.right <= low.right for low, high in pairwise(found))
    everything = coverage(right, sure, 0.0)
    assert everything.answered == len(cases) and everything.right == right.sum()


def test_a_threshold_of_ones_own_is_added_to_the_usual_ones_in_order() -> None:
    rows = [{"probability": value, "truth_probability": value, "brier": 0.1} for value in (0.4, 0.8, 0.95)]
    found = calibration_of(rows, np.array([False, True, True]), (0.5, 0.7, 0.9, 0.95, 0.8))["risk_coverage"]
    assert [(each.min_probability, each.answered, each.right) for each in found] == [
        (0.5, 2, 2), (0.7, 2, 2), (0.8, 2, 2), (0.9, 1, 1), (0.95, 1, 1)
    ]  # fmt: skip
    assert found[0].to_dict()["share"]["value"] == pytest.approx(2 / 3)


@given(st.lists(st.floats(0, 2), min_size=1, max_size=30))
def test_the_interval_of_a_mean_contains_it_and_keeps_within_bounds(values: list[float]) -> None:
    found = mean_interval(values, 0, 2)
    assert found.value == pytest.approx(sum(values) / len(values)) and 0 <= found.low <= found.value <= found.high <= 2
    assert len(values) > 1 or (found.low, found.high) == (0, 2)


def test_the_interval_of_a_mean_covers_it() -> None:
    generator = np.random.default_rng(0)
    found = [mean_interval(generator.exponential(1.0, 200).tolist(), 0, 30) for _ in range(1000)]
    assert 0.92 < np.mean([each.low <= 1 <= each.high for each in found]) < 0.975


@given(answers)
def test_calibration_is_that_of_a_slow_loop(pairs: list[tuple[bool, float]]) -> None:
    right, sure = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    total = 0.0
    for number in range(BINS):
        inside = [pair for pair in pairs if min(int(pair[1] * BINS), BINS - 1) == number]
        if inside:
            share, given = (sum(each) / len(inside) for each in zip(*inside, strict=True))
            total += abs(share - given) * len(inside) / len(pairs)
    assert calibration_error(right, sure) == pytest.approx(total, abs=1e-9)
    assert sum(row["count"] for row in reliability(right, sure)) == len(pairs)


NOISE = 4 * 0.25 / SIMULATIONS**0.5  # four standard errors: a single answer's error spreads by 0.25 at most


@settings(max_examples=25, deadline=None)
@given(st.lists(shares, min_size=1, max_size=40))
def test_the_calibration_error_of_chance_alone_is_that_of_exact_probabilities(sure: list[float]) -> None:
    found = chance_error(np.array(sure))
    assert 0 <= found <= 0.5 + NOISE and (found == 0) == all(value in (0, 1) for value in sure)
    assert chance_error(np.array(sure[:1])) == pytest.approx(2 * sure[0] * (1 - sure[0]), abs=NOISE)
