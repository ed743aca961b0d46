"""The numbers of an evaluation: against slow loops, scipy, and by their laws."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from bigain_cli.evaluation.accuracy import (
    accuracy_of,
    confusion,
    correct,
    difference,
    mcnemar,
    mean_of_classes,
    paired_interval,
)
from bigain_cli.evaluation.chart import MARKERS, chart_of, side_by_side
from bigain_cli.evaluation.multilabel import (
    MultilabelDifference,
    average_precision,
    mean_average,
    multilabel_difference,
    precision_of,
)
from bigain_cli.evaluation.summary import summarise
from bigain_cli.intervals import wilson

NAMES = ("cat", "dog", "emu")


def record(number: int, truth: str = "cat", label: str = "cat", **changes: Any) -> dict[str, Any]:
    plain = {"id": str(number), "label": label, "truth": [truth], "settled": True, "probability": 0.9, "rank": 1}
    plain |= {"truth_probability": 0.9, "brier": 0.02}
    return {**plain, "draws": 8, "evaluations": 24, "seconds": 0.5, "gflop": 2.0, **changes}


@given(gained=st.integers(0, 60), lost=st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected)


@given(gained=st.integers(0, 50), lost=st.integers(0, 50), rest=st.integers(0, 200))
def test_a_paired_interval_holds_the_difference_and_turns_with_it(gained: int, lost: int, rest: int) -> None:
    count = gained + lost + rest
    if not count:
        return
    found, turned = paired_interval(gained, lost, count), paired_interval(lost, gained, count)
    assert found.low <= found.value <= found.high and found.value == pytest.approx((gained - lost) / count)
    assert (-turned.high, -turned.low) == pytest.approx((found.low, found.high))


def test_paired_intervals_cover() -> None:
    """Of many samples with a known difference, about nineteen in twenty intervals hold it."""
    generator = np.random.default_rng(0)
    for gain, loss, count in ((0.1, 0.05, 100), (0.02, 0.02, 300), (0.3, 0.1, 60)):
        counts = generator.multinomial(count, [gain, loss, 1 - gain - loss], size=2000)
        spans = [paired_interval(int(g), int(lo), count) for g, lo, _ in counts]
        assert 0.93 < np.mean([span.low <= gain - loss <= span.high for span in spans]) <= 1


def test_a_difference_counts_images_by_who_was_right() -> None:
    mine, other = np.array([1, 1, 1, 0, 0, 1], bool), np.array([1, 0, 0, 1, 0, 1], bool)
    found = difference("b", "a", mine, other, np.array([1, 0, 0, 0, 1, 1], bool))
    assert (found.gained, found.lost, found.count) == (2, 1, 6)
    assert found.agreement.value == pytest.approx(0.5) and found.interval.value == pytest.approx(1 / 6)


def test_the_mean_of_classes_is_not_the_mean_of_images() -> None:
    right = np.array([True] * 90 + [False] * 10)
    found = mean_of_classes(right, ["cat"] * 90 + ["dog"] * 10)
    assert found.value == 0.5 and 0.3 < found.low < 0.4 and 0.6 < found.high < 0.7


def test_the_mean_of_classes_of_one_size_is_the_mean_of_images() -> None:
    right = np.arange(60) % 3 > 0
    assert mean_of_classes(right, [str(number % 6) for number in range(60)]) == pytest.approx(wilson(2 / 3, 60))


@pytest.mark.parametrize("sizes", [[1] * 100, [2] * 37, [5] * 37, [10] * 10, [1, 2, 3, 40, 5, 6, 7, 80]])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_the_interval_of_the_mean_of_classes_covers_it(sizes: list[int], share: float) -> None:
    random = np.random.default_rng(0)
    truth = [str(number) for number, size in enumerate(sizes) for _ in range(size)]
    shares = np.repeat(np.clip(share + np.linspace(-0.05, 0.05, len(sizes)), 0, 1), sizes)
    covered = 0
    for _ in range(400):
        found = mean_of_classes(random.random(len(truth)) < shares, truth)
        covered += found.low <= share <= found.high
    assert covered / 400 > 0.89, "Wilson's own, of so few of one class, is not better"


def test_an_accuracy_sums_records_up() -> None:
    rows = [record(0), record(1, label="dog", rank=6, settled=False), record(2, truth="dog", label="dog", draws=16)]
    found = accuracy_of(rows, labels=6)
    assert found.top1.value == pytest.approx(2 / 3) and found.top5 is not None
    assert found.top5.value == pytest.approx(2 / 3)
    assert found.settled.value == pytest.approx(2 / 3) and found.settled_right is not None
    assert found.settled_right.value == 1 and found.draws == pytest.approx(32 / 3)
    assert accuracy_of([record(0, settled=False)], 6).settled_right is None
    assert accuracy_of(rows, labels=5).top5 is None, "of five labels, the right one is always among the first five"
    assert confusion(rows, NAMES) == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_records_of_an_earlier_version_are_summed_up_as_they_were() -> None:
    new = [record(number, settled=number % 3 > 0) for number in range(10)]
    old = [{**row, "decided": row["settled"]} for row in new]
    for row in old:
        del row["settled"], row["brier"]
    found, before = accuracy_of(new, 6), accuracy_of(old, 6)
    assert (before.settled, before.settled_right) == (found.settled, found.settled_right) and found.settled.value == 0.6
    assert before.brier is None and found.brier is not None
    document = found.to_dict()
    assert document["decided"] == document["settled"] and document["decided_right"] == document["settled_right"]


def test_a_summary_is_described_in_a_line() -> None:
    found = summarise({"a": by_id([record(n, label="cat" if n % 4 else "dog") for n in range(8)])}, NAMES, "a", {})
    assert repr(found) == "<Summary of 8 images: 75.0 % right [40.9, 92.9], 0 failed>"
    several = summarise({"a": by_id([multilabel(0, ["cat"], cat=1.0)])}, NAMES, "a", {})
    assert repr(several) == "<Summary of 1 image: 100.0 % mAP [100.0, 100.0], 0 failed>"


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=1, max_size=15),
)
def test_average_precision_is_that_of_repeated_images(rows: list[tuple[int, bool, int]]) -> None:
    """Weights are repetitions; equal scores are counted together."""
    scores, truth, weights = (np.array(column) for column in zip(*rows, strict=True))
    repeated = [(s, t) for s, t, w in rows for _ in range(w)]
    positives = [s for s, t in repeated if t]
    found = average_precision(scores.astype(float), truth.astype(bool), weights[None].astype(float))[0]
    if not positives:
        assert math.isnan(found)
        return
    precision = [
        sum(t for s, t in repeated if s >= mine) / sum(1 for s, _ in repeated if s >= mine) for mine in positives
    ]
    assert found == pytest.approx(sum(precision) / len(precision))


def test_a_perfect_ranking_has_precision_one_and_a_blind_one_the_share() -> None:
    truth = np.random.default_rng(0).random((400, 3)) < 0.25
    weights = np.ones((1, 400))
    assert mean_average(truth.astype(float), truth, weights)[0] == 1
    assert mean_average(np.zeros((400, 3)), truth, weights)[0] == pytest.approx(truth.mean(), abs=0.01)


def multilabel(number: int, truth: list[str], **evidence: float) -> dict[str, Any]:
    return {**record(number), "truth": truth, "evidence": {"cat": 0.0, "dog": 0.0, "emu": 0.0, **evidence}}


@example([0.0] * 8 + [17.0] * 2, 2.0**-52)  # a step below what the costs can be told apart by
@given(st.lists(st.floats(0, 50) | st.sampled_from([5.0, 8.0, 8.04]), min_size=1, max_size=12), st.floats(0, 3))
def test_marks_are_moved_apart_in_their_order_and_no_further_than_they_must(costs: list[float], step: float) -> None:
    places = side_by_side(costs, step)
    order = sorted(range(len(costs)), key=costs.__getitem__)
    stand = [places[index] for index in order]
    assert all(after - before >= step * (1 - 1e-5) - 1e-9 for before, after in pairwise(stand))
    assert all(abs(place - cost) <= step * len(costs) + 1e-9 for place, cost in zip(places, costs, strict=True))
    assert sum(stand) == pytest.approx(sum(costs), abs=1e-4), "about their mean"
    far = [i for i in order if all(i == j or abs(costs[i] - costs[j]) > step * len(costs) * 2 for j in order)]
    assert all(places[index] == costs[index] for index in far)


def test_marks_of_one_cost_stand_side_by_side_and_each_has_its_name_beside_it() -> None:
    right, wrong = ([record(number, label=label) for number in range(20)] for label in ("cat", "dog"))
    about = {"model": "m", "dataset": "data/d"}
    found = summarise({"a": by_id(right), "b": by_id(wrong), "c": by_id(right)}, NAMES, "a", about)
    figure = chart_of(found)
    (axes,) = figure.axes
    assert not figure.legends and axes.get_title() == "m on d, n = 20"
    assert axes.get_ylim() == (-1, 101), "shares end at 0 and 100"
    assert [text.get_text() for text in axes.texts if text.get_text()] == ["a", "b", "c"]
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_marker() in MARKERS]
    assert len(marks) == 3 and marks == sorted(set(marks))
    assert "moved apart" in figure.get_supxlabel()


def test_images_with_several_labels_are_judged_by_evidence_and_in_pairs() -> None:
    good = [multilabel(n, ["cat", "dog"], cat=2.0, dog=1.0, emu=-1.0) for n in range(20)]
    good += [multilabel(n, [], emu=-2.0, cat=-1.0, dog=-1.0) for n in range(20, 30)]
    bad = [{**row, "evidence": {name: -value for name, value in row["evidence"].items()}} for row in good]
    assert precision_of(good).mean_average.value == 1
    assert precision_of(good).first.value == 1 and precision_of(good).labelled == 20, "others cannot be right"
    assert math.isnan(multilabel_difference("a", "b", precision_of(good[20:]), precision_of(bad[20:])).first.value)
    found = summarise({"a": by_id(good), "b": by_id(bad), "c": by_id(good)}, NAMES, "a", {})
    assert [(each.spec, each.against) for each in found.differences] == [("b", "a"), ("c", "a"), ("c", "b")]
    worse, same, better = found.differences
    assert (
        isinstance(worse, MultilabelDifference)
        and isinstance(same, MultilabelDifference)
        and isinstance(better, MultilabelDifference)
    )
    assert worse.mean_average.high < 0 < better.mean_average.low
    assert same.mean_average.to_dict() == {"value": 0, "low": 0, "high": 0}
    assert (worse.gained, worse.lost, better.gained, better.lost, same.p) == (0, 20, 20, 0, 1)
    assert worse.p == pytest.approx(2 / 2**20) and (same.agreement.value, worse.agreement.value) == (1, 0)
    assert found.multilabel and "confusion" not in str(found.to_dict())


def by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in rows}


def test_only_images_that_all_specs_answered_count() -> None:
    rows = [record(0), record(1), record(2)]
    failed = [record(0), {"id": "1", "truth": ["cat"], "error": {"kind": "x", "message": "y"}}]
    found = summarise({"a": by_id(rows), "b": by_id(failed)}, NAMES, "a", {})
    assert found.count == 1 and found.failures == {"a": 0, "b": 1}
    empty = summarise({"a": by_id(failed[1:]), "b": by_id(rows)}, NAMES, "a", {})
    assert empty.count == 0 and not empty.accuracies and empty.to_dict()["pictures"] == 0


def test_every_pair_is_compared_and_the_baseline_comes_first() -> None:
    wrong = [record(number, label="dog") for number in range(8)]
    good = [record(number) for number in range(8)]
    found = summarise({"a": by_id(wrong), "b": by_id(good), "c": by_id(good)}, NAMES, "b", {})
    assert [(each.spec, each.against) for each in found.differences] == [("a", "b"), ("c", "b"), ("c", "a")]
    worse = found.to_baseline("a")
    assert worse is not None and worse.lost == 8 and worse.interval.high < 0 and worse.p == pytest.approx(2 / 2**8)
    assert correct(good).all() and found.to_baseline("b") is None


def test_a_label_that_a_shortlist_left_out_is_not_among_the_first_five() -> None:
    """Its rank is the one behind the labels that were asked, however few they were."""
    asked, missed = record(0, rank=2, asked_labels=[0, 1, 2]), record(1, rank=4, asked_labels=[0, 1, 2])
    found = accuracy_of([asked, missed, record(2, rank=4), record(3, rank=6)], labels=9)
    assert found.top5 is not None and found.top5.value == 0.5
