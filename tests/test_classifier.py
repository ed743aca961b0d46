"""`classify` as a library: order, failures, limits, rejection, fallbacks."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bigain_cli as bigain
from bigain_cli.backbones.devices import PrecisionWarning
from bigain_cli.backbones.gaussian_mixture import load_colours
from bigain_cli.backbones.model_locations import model_folder
from bigain_cli.classification import classifier
from bigain_cli.classification.classifier import Classification
from bigain_cli.classification.elimination import Elimination
from bigain_cli.errors import UsageError
from bigain_cli.noise_draws import Draws
from bigain_cli.registry import MODELS

LABELS = ["red", "green", "blue", "yellow"]


@pytest.fixture
def colours():
    return load_colours(torch.device("cpu"))


def paint(*names: str) -> list[tuple[str, Image.Image]]:
    return [(name, Image.new("RGB", (40, 30), name)) for name in names]


def labels_of(results) -> dict[str, str]:
    return {result.id: result.label for result in results}


def scores(result) -> dict[str, float]:
    return {label.label: label.score for label in result.ranked}


def test_labels_are_right_and_in_the_order_of_the_images(colours) -> None:
    images = paint("firebrick", "navy", "gold", "forestgreen", "red")
    results = list(bigain.classify(colours, images, LABELS))
    assert [result.id for result in results] == [name for name, _ in images]
    assert [result.label for result in results] == ["red", "blue", "yellow", "green", "red"]
    for result in results:
        assert math.isclose(sum(label.probability for label in result.ranked), 1, rel_tol=1e-9)
        assert result.probability == max(label.probability for label in result.ranked)
        assert result.evaluations >= result.draws * 2


@pytest.mark.parametrize("kind", ["epsilon", "pixels-v", "dit"])
def test_batch_size_order_and_prefix_change_no_label(kind: str, models, images) -> None:
    """Batch size, label order, image order and sharing the prefix change no label, and no score by more than 1e-5."""
    labels = ["tabby", "tench", "airliner"]
    rules = bigain.StoppingRules(draws=16)
    backbone = bigain.load(str(models[kind]), device="cpu")
    runs = []
    for batch, order, turn, share in ((1, 1, 1, True), (7, -1, 1, True), (64, 1, -1, True), (7, 1, -1, False)):
        stream = bigain.classify(
            backbone, images[:3][::turn], labels[::order], rules=rules, batch=batch, share_prefix=share
        )
        runs.append({result.id: result for result in stream})
    reference = runs[0]
    for run in runs[1:]:
        assert labels_of(run.values()) == {name: labels_of(reference.values())[name] for name in run}
        for name, result in run.items():
            assert scores(result) == pytest.approx(scores(reference[name]), abs=1e-5)
            assert result.settled == reference[name].settled and result.evaluations == reference[name].evaluations


def test_a_repeated_run_is_the_same_to_the_last_bit(models, images) -> None:
    def records() -> list[dict]:
        backbone = bigain.load(str(models["epsilon"]), device="cpu")
        return [result.to_dict() for result in bigain.classify(backbone, images, ["cat", "dog"])]

    assert records() == records()


def test_an_image_does_not_depend_on_the_others(models, images) -> None:
    backbone = bigain.load(str(models["pixels"]), device="cpu")
    together = [result.to_dict() for result in bigain.classify(backbone, images, ["cat", "dog"], batch=8)]
    alone = [next(bigain.classify(backbone, [each], ["cat", "dog"], batch=8)).to_dict() for each in images]
    assert together == alone


def test_a_broken_image_is_a_failure_in_the_order_of_the_images(colours, tmp_path) -> None:
    (tmp_path / "b.png").write_bytes(b"no image")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "a.png")
    Image.new("RGB", (9, 9), "blue").save(tmp_path / "c.png")
    results = list(bigain.classify(colours, tmp_path, LABELS))
    assert [type(result).__name__ for result in results] == ["Ranking", "Failure", "Ranking"]
    assert results[1].kind == "not-an-image" and "b.png" in results[1].message


def test_budget_draws_and_deadline_are_kept(colours) -> None:
    grey = paint("grey")
    for budget in (4, 5, 37, 100):
        result = next(bigain.classify(colours, grey, LABELS, rules=bigain.StoppingRules(budget=budget)))
        assert 4 <= result.evaluations <= budget
    result = next(bigain.classify(colours, grey, ["blue", "red"], rules=bigain.StoppingRules("fixed", draws=11)))
    assert result.draws == 11 and result.evaluations == 22
    result = next(
        bigain.classify(colours, grey, LABELS, rules=bigain.StoppingRules(confidence=0.999999, deadline=1e-9))
    )
    assert result.draws == 1, "one draw is always done"


def test_a_budget_below_one_draw_is_refused(colours) -> None:
    with pytest.raises(UsageError, match="one draw of all 4 labels takes 4 evaluations"):
        Classification(colours, LABELS, rules=bigain.StoppingRules(budget=3))


def test_the_published_stages_take_260_evaluations_for_37_labels(models, images) -> None:
    backbone = bigain.load(str(models["pixels"]), device="cpu")
    labels = [f"label {number}" for number in range(37)]
    result = next(bigain.classify(backbone, images[:1], labels, rules=bigain.StoppingRules("staged")))
    assert result.evaluations == 260 and result.draws == 20
    assert sorted(label.draws for label in result.ranked) == [5] * 32 + [20] * 5
    with pytest.raises(UsageError, match="always takes 20 draws"):
        bigain.StoppingRules("staged", draws=30)


def test_equal_votes_are_not_decided_by_the_labels_order() -> None:
    rules, names = bigain.StoppingRules("staged", score="vote"), [f"label {number}" for number in range(9)]
    errors = np.random.default_rng(0).random((5, 9))
    errors[:, 0] = 0  # all votes go to the first
    kept = []
    for order in (np.arange(9), np.arange(9)[::-1]):
        elimination = Elimination([names[number] for number in order], [1] * 9, rules)
        elimination.add_errors(errors[:, order])
        kept.append({elimination.labels[number] for number in np.flatnonzero(elimination.remaining)})
    assert kept[0] == kept[1] and len(kept[0]) == 5


@pytest.mark.parametrize("schedule", ["race", "ttest", "staged", "fixed"])
@pytest.mark.parametrize("score", ["l2", "norm", "log", "l1", "vote"])
def test_every_schedule_and_score_finds_a_clear_colour(schedule: str, score: str, colours) -> None:
    result = next(bigain.classify(colours, paint("red"), LABELS, rules=bigain.StoppingRules(schedule, score=score)))
    assert result.label == "red"
    assert result.settings["schedule"] == schedule and result.settings["score"] == score


def test_scores_mean_what_their_names_say(colours) -> None:
    """From one fixed set of draws: l2 is a mean square, norm its root, l1 smaller than the root, votes sum to one."""
    by_score = {
        score: next(
            bigain.classify(colours, paint("teal"), LABELS, rules=bigain.StoppingRules("fixed", draws=16, score=score))
        )
        for score in ("l2", "norm", "log", "l1", "vote")
    }
    values = {score: scores(result) for score, result in by_score.items()}
    for label in LABELS:
        assert values["norm"][label] ** 2 <= -values["l2"][label] + 1e-9  # Jensen
        assert -values["log"][label] <= math.log(-values["l2"][label]) + 1e-9
        assert -values["l1"][label] <= -values["norm"][label] + 1e-9
    assert sum(values["vote"].values()) == pytest.approx(1)


def test_reject_returns_none_when_no_label_beats_the_empty_prompt(colours) -> None:
    results = bigain.classify(colours, paint("blue", "red"), ["red", "green"], reject=True)
    assert labels_of(results) == {"blue": "none", "red": "red"}
    named = bigain.classify(colours, paint("blue"), ["red", "green", "none"], reject=True)
    assert [label.label for label in next(named).ranked].count("none") == 1


def test_one_label_alone_can_be_rejected_but_not_ranked(colours) -> None:
    assert labels_of(bigain.classify(colours, paint("blue"), ["red"], reject=True)) == {"blue": "none"}
    with pytest.raises(UsageError, match="one label cannot be ranked"):
        bigain.classify(colours, paint("blue"), ["red"])


def test_templates_and_prompts_are_averaged_per_draw(models, images) -> None:
    backbone = bigain.load(str(models["pixels"]), device="cpu")
    rules = bigain.StoppingRules("fixed", draws=8)
    separate = [
        scores(next(bigain.classify(backbone, images[:1], ["cat", "dog"], templates=[template], rules=rules)))
        for template in ("a {}", "the {}!")
    ]
    both = next(bigain.classify(backbone, images[:1], ["cat", "dog"], templates=["a {}", "the {}!"], rules=rules))
    for label in ("cat", "dog"):
        assert scores(both)[label] == pytest.approx((separate[0][label] + separate[1][label]) / 2, abs=1e-6)
    assert both.evaluations == 32
    prompts = {"cat": ["a cat", "the cat!"], "dog": ["a dog", "the dog!"]}
    given = next(bigain.classify(backbone, images[:1], prompts, rules=rules))
    assert scores(given) == scores(both)


def test_labels_with_equal_embeddings_are_refused_by_name(models, images) -> None:
    backbone = bigain.load(str(models["pixels"]), device="cpu")
    for labels in ({"cat": "a cat", "dog": ["a dog", "a cat"]}, ["cat", "dog"]):
        assert bigain.Classification(backbone, labels)
    for labels in ({"x": "a dog", "cat": "a cat", "pet": "A  cat"}, {"cat": ["a", "b"], "pet": ["B", "A"]}):
        with pytest.raises(bigain.UsageError, match=r"labels 'cat' and 'pet': .* cannot tell them apart: .* equal"):
            bigain.Classification(backbone, labels)


def test_open_records_name_the_contenders(models, images, monkeypatch) -> None:
    monkeypatch.setattr(classifier, "refuse_equal_labels", lambda *_: None)
    backbone = bigain.load(str(models["pixels"]), device="cpu")
    same = {"cat": "a cat", "dog": "a cat"}
    record = next(bigain.classify(backbone, images[:1], same, rules=bigain.StoppingRules(draws=16))).to_dict()
    assert record["settled"] is record["decided"] is False and sorted(record["contenders"]) == ["cat", "dog"]
    assert record["probability"] == 0.5 and record["gap"] == 0


def test_float16_that_overflows_continues_in_more_range_once(models, images) -> None:
    backbone = bigain.load(str(models["pixels"]), device="cpu", dtype="float16")
    backbone.network.conv_out.weight.data *= 2e4
    backbone.network.conv_out.bias.data += 6e4
    with pytest.warns(PrecisionWarning, match="float16 overflowed") as caught:
        results = list(bigain.classify(backbone, images, ["cat", "dog"], rules=bigain.StoppingRules(draws=8)))
    assert len(caught) == 1
    assert {result.settings["dtype"] for result in results} == {"float32"}
    assert all(isinstance(result, bigain.Ranking) for result in results)


def test_errors_that_are_not_finite_are_a_failure_of_the_image(models, images) -> None:
    backbone = bigain.load(str(models["pixels"]), device="cpu")
    backbone.network.conv_out.bias.data[0] = math.nan
    results = list(bigain.classify(backbone, images[:2], ["cat", "dog"]))
    assert [result.kind for result in results] == ["not-finite"] * 2


class LimitedMemory:
    """A backbone whose device has memory for a number of rows."""

    def __init__(self, inner, rows: int) -> None:
        self._inner, self._rows, self.seen = inner, rows, []

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    def noise(self, noisy, *rest):
        self.seen.append(len(noisy))
        if len(noisy) > self._rows:
            raise torch.OutOfMemoryError("out of memory")
        return self._inner.noise(noisy, *rest)


def test_out_of_memory_halves_the_batch_and_continues(colours) -> None:
    limited = LimitedMemory(colours, rows=5)
    results = list(bigain.classify(limited, paint("red", "blue"), LABELS, batch=32))
    assert [result.label for result in results] == ["red", "blue"]
    failed = [rows for rows in limited.seen if rows > 5]
    assert failed == [32, 16, 8], "the size that fits is remembered"


def test_out_of_memory_for_a_single_evaluation_is_an_error(colours) -> None:
    with pytest.raises(bigain.BigainError, match="a single evaluation does not fit"):
        list(bigain.classify(LimitedMemory(colours, rows=0), paint("red"), LABELS))


def test_a_prompt_that_is_too_long_is_named_among_others(models) -> None:
    backbone = bigain.load(str(models["pixels"]), device="cpu")
    with pytest.raises(UsageError, match=r"prompt 'x{60}': 62 tokens; this text encoder reads 40"):
        backbone.condition(["a cat", "x" * 60])


def test_the_class_table_is_part_of_the_identity(models, tmp_path) -> None:
    copy = Path(shutil.copytree(models["dit"], tmp_path / "dit"))
    index = json.loads((copy / "model_index.json").read_text())
    index["id2label"]["0"], index["id2label"]["5"] = index["id2label"]["5"], index["id2label"]["0"]
    before = bigain.load(str(copy), device="cpu").identity
    (copy / "model_index.json").write_text(json.dumps(index))
    assert bigain.load(str(copy), device="cpu").identity != before


def test_the_order_of_a_cards_classes_is_part_of_the_identity(tmp_path) -> None:
    """It numbers the labels of a network that knows classes by number."""
    copy = Path(shutil.copytree(model_folder(MODELS["mini-dit"]), tmp_path / "dit"))
    before = bigain.load(str(copy), device="cpu").identity
    card = json.loads((copy / "bigain.json").read_text())
    card["classes"] = dict(reversed(card["classes"].items()))
    (copy / "bigain.json").write_text(json.dumps(card))
    assert bigain.load(str(copy), device="cpu").identity != before


@pytest.mark.parametrize("images", [3, [3], [[b"bytes"]]])
def test_what_is_no_image_is_a_usage_error(images, colours) -> None:
    with pytest.raises(UsageError, match="Give paths, bytes, PIL images"):
        list(bigain.classify(colours, images, LABELS))


def test_rankings_come_after_every_block_and_end_with_the_result(colours) -> None:
    run = Classification(colours, LABELS, rules=bigain.StoppingRules("fixed", draws=24))
    steps = list(run.rankings(paint("red")))
    assert [step.draws for step in steps] == [8, 16, 24]
    assert [step.finished for step in steps] == [False, False, True]


def test_the_fingerprint_depends_on_what_changes_results_and_nothing_else(colours) -> None:
    def fingerprint(labels=LABELS, backbone=colours, **changes) -> str:
        return Classification(backbone, labels, **changes).settings["fingerprint"]

    base = fingerprint()
    other = dataclasses.replace(colours, identity="other weights")
    changed = [
        fingerprint(labels=LABELS[:3]),
        fingerprint(backbone=other),
        fingerprint(seed=1),
        fingerprint(reject=True),
        fingerprint(rules=bigain.StoppingRules(draws=9)),
        fingerprint(rules=bigain.StoppingRules(score="norm")),
        fingerprint(rules=bigain.StoppingRules(confidence=0.9)),
    ]
    assert len({base, *changed}) == 8
    assert fingerprint(batch=3) == fingerprint(timing=True) == base


def test_the_example_in_the_documentation_runs(colours, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9), "red").save("photo.jpg")
    code = [line[4:] for line in bigain.__doc__.splitlines() if line.startswith((">>> ", "... "))]
    exec("\n".join(code), {})
    assert len(code) == 6
    with Image.open(tmp_path / "1.png") as generated:
        assert generated.size == (8, 8)


def test_staged_times_are_shares_of_all_time_where_a_model_is_best_in_a_part_of_it() -> None:
    """Its draws are from 25 to 975 whatever range a model's card recommends, for which its temperature was fitted."""
    image = Image.effect_noise((32, 32), 90).convert("RGB")
    staged = Classification("mini-dit", ["cat", "dog"], rules=bigain.StoppingRules("staged"))
    assert staged._timestep_range == (0, 1000) and "temperature" not in staged.settings
    draws = Draws(0, b"", (3, 32, 32), staged._timestep_range, staged._timesteps)
    assert draws.times(0, 20).min() == pytest.approx(0.0255) and draws.times(0, 20).max() == pytest.approx(0.9755)
    (found,) = [result for result in staged.rankings([("x", image)]) if result.finished]
    assert isinstance(found, bigain.Ranking) and found.draws == 20
