"""The search of a label tree: it finds what the race of all labels finds, for less, and says what it did not ask."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import NestedClasses, nested
from PIL.Image import Image

from bigain_cli.classification.classifier import Classification, classify
from bigain_cli.classification.confidence import GapRules
from bigain_cli.classification.label_search import TreeSearch
from bigain_cli.classification.ranking import Ranking
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.errors import UsageError
from bigain_cli.shortlist.label_tree import tree_of_vectors

SIZES, SPREADS = (10, 6, 5), (0.8, 0.6, 0.5)
LABELS = 300
QUICK = StoppingRules(draws=32)


@cache
def sampled() -> tuple[NestedClasses, list[tuple[str, Image]]]:
    """Return a model and images of every sixth class."""
    model = nested(SIZES, SPREADS)
    return model, model.sample(torch.arange(0, LABELS, 6), seed=1)


def model() -> NestedClasses:
    return sampled()[0]


def images(count: int) -> list[tuple[str, Image]]:
    return sampled()[1][:count]


def ranked(count: int, labels: Sequence[str] | None = None, **options: object) -> list[Ranking]:
    results = classify(model(), images(count), labels, **{"batch": 512, "rules": QUICK, **options})  # type: ignore
    return [result for result in results if isinstance(result, Ranking)]


def test_the_tree_finds_the_winner_for_less() -> None:
    everything, tree = ranked(12, shortlist="off"), ranked(12, shortlist="tree")
    same = [one.label == other.label for one, other in zip(everything, tree, strict=True)]
    assert np.mean(same) >= 0.9
    assert sum(each.evaluations for each in tree) < 0.75 * sum(each.evaluations for each in everything)


def test_what_was_not_asked_is_counted_and_probabilities_sum_to_one() -> None:
    names = {model().names[number] for number in range(LABELS)}
    for ranking in ranked(8, shortlist="tree"):
        asked = {each.label for each in ranking.ranked}
        record = ranking.to_dict(None)
        assert record["asked"] == len(asked) == len(record["top"])
        assert record["not_asked"] == len(names - asked) > 0
        assert all(each.draws >= 8 for each in ranking.ranked)  # none is ranked without a draw
        assert 0 < record["remainder"] < 1
        assert sum(each.probability for each in ranking.ranked) + ranking.remainder == pytest.approx(1)


def test_without_a_shortlist_records_say_nothing_of_it() -> None:
    [ranking] = ranked(1, shortlist="off")
    assert not {"asked", "not_asked", "remainder"} & ranking.to_dict().keys()
    assert "shortlist" not in ranking.settings
    assert len(ranking.ranked) == LABELS


def test_label_order_batch_and_other_images_change_nothing() -> None:
    names = [model().names[number] for number in range(LABELS)]
    shuffled = [names[number] for number in np.random.default_rng(0).permutation(LABELS)]
    first = ranked(4, names, shortlist="tree")
    for other in (ranked(4, shuffled, shortlist="tree"), ranked(6, names, shortlist="tree", batch=7)[:4]):
        for one, two in zip(first, other, strict=True):
            assert {each.label for each in one.ranked} == {each.label for each in two.ranked}
            assert (one.label, one.evaluations, one.settled) == (two.label, two.evaluations, two.settled)
            assert one.probability == pytest.approx(two.probability, abs=1e-4)


def test_errors_of_the_search_are_used_by_the_race() -> None:
    """Every label is evaluated once on each draw: the evaluations are the sum of all labels' draws."""
    for ranking in ranked(6, shortlist="tree"):
        assert ranking.evaluations == sum(each.draws for each in ranking.ranked)


def test_the_race_of_the_asked_labels_alone_gives_the_same_answer() -> None:
    for ranking, (id, image) in zip(ranked(4, shortlist="tree"), images(4), strict=True):
        asked = sorted(each.label for each in ranking.ranked)
        [alone] = classify(model(), [(id, image)], asked, shortlist="off", rules=QUICK, batch=512)
        assert isinstance(alone, Ranking)
        assert [each.label for each in alone.ranked] == [each.label for each in ranking.ranked]
        assert alone.evaluations == ranking.evaluations


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(12, 120), st.integers(1, 12))
def test_labels_that_nothing_separates_are_all_asked(seed: int, count: int, beam: int) -> None:
    """Equal losses: no interval excludes zero, so the cut is widened until nothing is left out."""
    rng = np.random.default_rng(seed)
    tree = tree_of_vectors(rng.standard_normal((count, 5)), [str(number) for number in range(count)])
    search, losses = TreeSearch(tree, beam=beam), np.full((8, count), np.nan)
    labels = search.first()
    while labels:
        assert np.isnan(losses[:, labels]).all()  # no label is asked twice
        losses[:, labels] = np.arange(8.0)[:, None]
        labels = search.next(losses, GapRules())
    assert not np.isnan(losses).any()
    assert search.outside(np.full(count, 1 / count)) == 0


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(12, 150))
def test_a_label_far_better_than_all_is_found_if_its_branch_is(seed: int, count: int) -> None:
    """Losses that grow with the distance to one label: a search of the tree ends at it."""
    rng = np.random.default_rng(seed)
    vectors, best = rng.standard_normal((count, 3)), int(rng.integers(count))
    tree = tree_of_vectors(vectors, [str(number) for number in range(count)])
    distances = np.square(vectors - vectors[best]).sum(axis=1)
    search, losses = TreeSearch(tree), np.full((8, count), np.nan)
    labels = search.first()
    while labels:
        losses[:, labels] = distances[labels] + 0.01 * rng.standard_normal((8, len(labels)))
        labels = search.next(losses, GapRules())
    assert not np.isnan(losses[:, best]).any()


def test_the_empty_prompt_is_always_asked() -> None:
    for ranking in ranked(3, shortlist="tree", reject=True):
        assert "none" in {each.label for each in ranking.ranked}


@pytest.mark.parametrize("rules", [{"budget": 400}, {"draws": 3}, {"deadline": 0.001}, {"schedule": "staged"}])
def test_limits_hold_during_the_search(rules: dict[str, object]) -> None:
    [ranking] = ranked(1, shortlist="tree", rules=StoppingRules(**rules))  # type: ignore[arg-type]
    assert ranking.finished and ranking.evaluations <= rules.get("budget", 10**6)  # type: ignore[operator]
    assert len(ranking.ranked) + (ranking.not_asked or 0) == LABELS
    assert ranking.draws <= rules.get("draws", 64)  # type: ignore[operator]


def test_a_budget_below_the_first_labels_is_refused() -> None:
    with pytest.raises(UsageError, match="--budget 3"):
        Classification(model(), shortlist="tree", rules=StoppingRules(budget=3))


def test_the_fingerprint_knows_the_tree(tmp_path_factory: pytest.TempPathFactory) -> None:
    names = [model().names[number] for number in range(LABELS)]
    file = tmp_path_factory.mktemp("trees") / "own.json"
    file.write_text(json.dumps({"tree": names}))
    found = [
        Classification(model(), **options).settings["fingerprint"]  # type: ignore[arg-type]
        for options in ({"shortlist": "off"}, {"shortlist": "tree"}, {"tree": str(file)})
    ]
    assert len({*found[:2]}) == 2
    assert found[1] == found[2]  # one group is split as all labels are: the same tree
    file.write_text(json.dumps({"tree": [[name] for name in names]}))
    assert Classification(model(), tree=str(file)).settings["fingerprint"] not in found


def test_heatmaps_of_the_asked_labels_sum_to_the_gap() -> None:
    [ranking] = ranked(1, shortlist="tree", maps=True)
    assert ranking.evidence is not None and len(ranking.evidence.maps) == 2
    for each in ranking.evidence.maps:
        assert each.map.sum() == pytest.approx(each.gap, rel=1e-3)
    [plain] = ranked(1, shortlist="tree")
    assert plain.label == ranking.label and plain.evaluations == ranking.evaluations


@pytest.mark.slow
def test_twenty_thousand_labels_take_seconds_and_little_memory() -> None:
    """Around the network: reading and arranging the labels, the search, and the statistics of the race."""
    many = nested((20, 25, 40), SPREADS)
    names, began = list(many.names.values()), time.monotonic()
    run = Classification(many, names, shortlist="tree", batch=2048, rules=QUICK)
    [ranking] = run.rankings(many.sample(torch.tensor([777]), seed=2), only_final=True)
    assert isinstance(ranking, Ranking) and len(ranking.ranked) < 5000
    assert ranking.evaluations < 80_000  # half of the first draws of all labels
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_a_thousand_labels_cost_less_than_twenty_times_ten_labels() -> None:
    """And the tree loses next to nothing: tools/measure_shortlist.py judges 500 images."""
    many, rng = nested((10, 10, 10), SPREADS), np.random.default_rng(4)
    names, truth = list(many.names.values()), rng.integers(1000, size=40)
    samples = many.sample(torch.from_numpy(truth), seed=4)

    def race(images: list[tuple[str, Image]], labels: list[str], shortlist: str) -> list[Ranking]:
        found = classify(many, images, labels, shortlist=shortlist, batch=2048)
        return [result for result in found if isinstance(result, Ranking)]

    ten = [race([each], rng.choice(names, 10, replace=False).tolist(), "off")[0].evaluations for each in samples]
    tree, everything = race(samples, names, "tree"), race(samples, names, "off")
    assert np.mean([each.evaluations for each in tree]) <= 20 * np.mean(ten)
    asked = [one.label in {each.label for each in other.ranked} for one, other in zip(everything, tree, strict=True)]
    assert np.mean(asked) >= 0.95
    right = [
        sum(each.label == names[number] for each, number in zip(found, truth, strict=True))
        for found in (everything, tree)
    ]
    assert right[1] >= right[0] - 2
