"""Records of an evaluation: the same images and draws for all specs, resumption, several labels."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import bigain_cli as bigain
from bigain_cli.classification.denoising import DenoisingErrors
from bigain_cli.classification.ranking import Ranking
from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.datasets.dataset import Case, Dataset, labels_for
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.evaluator import EvaluationOptions, Evaluator
from bigain_cli.evaluation.records import fields_for_summary
from bigain_cli.images import Source

COLOURS = {"red": (220, 30, 30), "green": (40, 150, 60), "blue": (40, 80, 200), "black": (10, 10, 10)}
FIXED = StoppingRules(schedule="fixed", draws=8)


def coloured(count: int = 6, multilabel: bool = False) -> Dataset:
    names = tuple(COLOURS)
    cases = [
        Case(f"{n}.png", (n % 4,), lambda n=n: Image.new("RGB", (8, 8), COLOURS[names[n % 4]])) for n in range(count)
    ]
    return Dataset("colours", names, cases, multilabel=multilabel)


@pytest.fixture(scope="module")
def colours() -> Any:
    return bigain.load("colours", device="cpu")


@pytest.fixture(scope="module")
def network(models: dict[str, Path]) -> Any:
    return bigain.load(str(models["pixels"]), device="cpu")


def evaluation(backbone: Any, dataset: Dataset, *specs: str, rules: StoppingRules = FIXED, **changes: Any) -> Evaluator:
    labels, answers = labels_for(dataset, changes.pop("labels", None))
    return Evaluator(backbone, dataset, labels, answers, EvaluationOptions(specs, rules, **changes))


def test_records_are_those_of_classify_with_the_truth(network: Any) -> None:
    dataset = coloured(5)
    evaluator = evaluation(network, dataset, "none", "lgtm:0.5")
    records = [trial.record for trial in evaluator.records()]
    assert [record["id"] for record in records] == [f"{n}.png" for n in range(5)] * 2
    for spec in evaluator.specs:
        mine = [record for record in records if record["settings"]["compress"] == spec]
        images = [(case.id, case.open()) for case in dataset.cases]
        theirs = bigain.classify(network, images, list(COLOURS), rules=FIXED, compress=spec)
        for record, ranking in zip(mine, theirs, strict=True):
            expected = ranking.to_dict(5)
            assert {key: record[key] for key in expected} == expected
            place = [standing.label for standing in ranking.ranked].index(record["truth"][0])
            assert record["rank"] == place + 1
            assert record["truth_probability"] == pytest.approx(ranking.ranked[place].probability)
            squares = sum((each.probability - (each.label == record["truth"][0])) ** 2 for each in ranking.ranked)
            assert record["brier"] == pytest.approx(squares)
            assert record["gflop"] > 0 and record["seconds"] >= 0


def test_compression_costs_less_and_an_evaluation_costs_at_most_a_pass_of_the_report(network: Any) -> None:
    evaluator = evaluation(network, coloured(1), "none", "lgtm:0.5")
    plain, merged = (trial.record for trial in evaluator.records())
    per = [record["gflop"] / record["evaluations"] for record in (plain, merged)]
    assert per[1] < per[0]
    for each, whole in zip(per, merged["settings"]["compression"]["gflop"], strict=True):  # which has three decimals
        assert 0.8 * whole < each <= whole + 6e-4, "it counts its share of what runs before the text"


def test_what_is_recorded_is_not_classified_again(colours: Any) -> None:
    evaluator = evaluation(colours, coloured(6), "none")
    whole = [trial.record for trial in evaluator.records()]
    rest = [trial.record for trial in evaluator.records({"none": {"1.png", "4.png"}})]
    strip = [{key: value for key, value in record.items() if key != "seconds"} for record in (*whole, *rest)]
    assert strip[6:] == [record for record in strip[:6] if record["id"] not in ("1.png", "4.png")]
    assert list(evaluator.records({"none": {case.id for case in evaluator.dataset.cases}})) == []


def test_a_broken_image_is_a_record(colours: Any, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"nothing")
    path = str(tmp_path / "x.png")
    dataset = replace(coloured(3), cases=[*coloured(2).cases, Case("x.png", (2,), lambda: Source(path, path=path))])
    *_, last = (trial.record for trial in evaluation(colours, dataset, "none").records())
    assert last["id"] == "x.png" and last["error"]["kind"] and last["truth"] == ["blue"]


def _image(id: str) -> Image.Image:
    return coloured(4).cases[int(id.split(".")[0])].open()  # type: ignore[return-value]


def test_the_baseline_has_the_name_that_was_given_and_its_full_one(network: Any) -> None:
    evaluator = evaluation(network, coloured(1), "none", "lgtm:0.5")
    full = "lgtm:0.5@share=level"
    assert list(evaluator.specs) == ["none", full]
    assert evaluator.spec_name("lgtm:0.5") == evaluator.spec_name(full) == full and evaluator.spec_name(None) == "none"


def test_a_record_is_there_before_the_next_image_is_opened(colours: Any) -> None:
    opened: list[str] = []

    def opening(case: Case) -> Case:
        return Case(case.id, case.truth, lambda: [opened.append(case.id), case.open()][1])

    dataset = coloured(12)
    evaluator = evaluation(colours, replace(dataset, cases=[opening(case) for case in dataset.cases]), "none")
    next(evaluator.records())
    assert len(opened) < 12


def test_labels_given_by_hand_are_matched_by_name_alone() -> None:
    dataset = Dataset("x", ("airplane", "automobile", "cat"), (), preset="cifar10")
    with pytest.raises(UsageError, match="no label for the class 'airplane'"):
        labels_for(dataset, "plane,car,cat")


def test_runs_on_one_backbone_follow_its_dtype(network: Any) -> None:
    """One spec may have had to leave float16; the next one must not go on with texts in it."""
    run = bigain.Classification(network, list(COLOURS), rules=FIXED, compress="none")
    before = next(run.rankings([("x", _image("0"))]))
    network.to(torch.float64)
    try:
        after = next(run.rankings([("x", _image("0"))]))
        assert after.settings["dtype"] == "float64" and isinstance(after, Ranking) and isinstance(before, Ranking)
        assert after.label == before.label
    finally:
        network.to(torch.float32)


def test_a_multilabel_dataset_needs_a_label(network: Any) -> None:
    bare = replace(coloured(2, multilabel=True), cases=[Case("a", (), lambda: _image("0"))])
    with pytest.raises(UsageError, match="no chosen image has a label"):
        evaluation(network, bare, "none")


def test_a_spec_given_twice_is_refused(network: Any) -> None:
    for specs in (("none", "none"), ("lgtm:0.5", "lgtm:0.5@share=level")):
        with pytest.raises(UsageError, match="given twice"):
            evaluation(network, coloured(1), *specs)


def test_the_baseline_is_one_of_the_specs(network: Any) -> None:
    evaluator = evaluation(network, coloured(1), "lgtm:0.5", "none")
    assert evaluator.spec_name(None) == "lgtm:0.5@share=level" and evaluator.spec_name("none") == "none"
    with pytest.raises(UsageError, match=r"--against tome:0.5: is not among the specs"):
        evaluator.spec_name("tome:0.5")


def test_several_labels_are_scored_against_the_empty_prompt_on_the_same_draws(network: Any) -> None:
    dataset = coloured(2, multilabel=True)
    records = [trial.record for trial in evaluation(network, dataset, "none").records()]
    images = [(case.id, case.open()) for case in dataset.cases]
    whole = list(bigain.classify(network, images, list(COLOURS), rules=FIXED, reject=True))
    for record, ranking in zip(records, whole, strict=True):
        scores = {place.label: place.score for place in ranking.ranked}
        assert {place.draws for place in ranking.ranked} == {8}
        for name, value in record["evidence"].items():
            assert value == pytest.approx(scores[name] - scores["none"], abs=1e-9)
        assert set(record["evidence"]) == set(COLOURS) and "rank" not in record
    with pytest.raises(UsageError, match="Use --schedule fixed"):
        evaluation(network, dataset, "none", rules=StoppingRules())


def test_evaluate_sums_up(colours: Any) -> None:
    summary = bigain.evaluate(colours, coloured(12), rules=StoppingRules(draws=16), limit=8).summary()
    outcome = summary.accuracies["none"]
    assert summary.count == 8 and outcome.top1.value == 1 and outcome.gflop == 0  # type: ignore[union-attr]
    assert summary.about["model"] == "colours" and summary.about["dataset"] == "colours"
    document = summary.to_dict()
    assert document["specs"]["none"]["failures"] == 0 and "compress" not in document


def test_a_model_is_loaded_once_everything_else_is_checked(colours: Any, tmp_path: Path) -> None:
    loaded: list[tuple[int, tuple[str, ...]]] = []

    def load(chosen: Dataset, labels: Any) -> Any:
        loaded.append((len(chosen.cases), tuple(label.name for label in labels.labels)))
        return colours

    wrong: dict[str, tuple[Dataset, dict[str, Any]]] = {
        "several classes": (coloured(multilabel=True), {"per_class": 2}),
        "Use --schedule fixed": (coloured(multilabel=True), {}),
        "no image in it": (coloured(0), {}),
        "--records": (coloured(), {"resume": True}),
        "--min-probability": (coloured(multilabel=True), {"rules": FIXED, "min_probability": 0.5}),
        "grows line by line": (coloured(), {"records": str(tmp_path / "records.csv")}),
    }
    for message, (dataset, options) in wrong.items():
        with pytest.raises(UsageError, match=message):
            bigain.evaluate(load, dataset, **options)
    assert not loaded, "nothing is loaded for what is refused anyway"
    summary = bigain.evaluate(load, coloured(), rules=FIXED, limit=2).summary()
    assert summary.count == 2 and loaded == [(2, tuple(COLOURS))]


def without_seconds(path: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def test_a_run_from_python_continues_its_records(colours: Any, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    expected = bigain.evaluate(colours, coloured(8), rules=FIXED, records=str(whole)).summary()
    lines = whole.read_bytes().splitlines(keepends=True)
    ids = [json.loads(line)["id"] for line in lines]
    other = lines[7].replace(ids[7].encode(), b"elsewhere.png")
    part.write_bytes(b"".join(lines[:3]) + other + lines[3][:50])
    run = bigain.evaluate(colours, coloured(8), rules=FIXED, records=str(part), resume=True)
    assert (run.found.records, run.found.others, run.found.repaired, run.found.unknown) == (3, 1, True, "")
    assert (run.recorded, run.total, run.finished_images) == (3, 8, 3)
    early = run.summary(finish=False)
    assert early.count == 3 and early.accuracies["none"].count == 3, "nothing was classified for that"
    trials = list(run)
    assert [trial.earlier for trial in trials] == [True] * 3 + [False] * 5
    assert [trial.record["id"] for trial in trials] == ids
    assert [trial.result.id for trial in trials if trial.result is not None] == ids[3:]
    assert run.summary().accuracies["none"].top1 == expected.accuracies["none"].top1  # type: ignore[union-attr]
    kept = without_seconds(part)
    assert kept[:3] + kept[4:] == without_seconds(whole) and kept[3]["id"] == "elsewhere.png"
    assert run.finished_images == 8 and list(run) == [], "a run is followed once"


@pytest.mark.usefixtures("signals")
def test_a_signal_does_not_come_between_a_record_and_its_count(
    colours: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.jsonl"
    run = bigain.evaluate(colours, coloured(4), rules=FIXED, records=str(path))

    def interrupted(record: dict[str, Any]) -> dict[str, Any]:
        signal.raise_signal(signal.SIGINT)
        return fields_for_summary(record)

    monkeypatch.setattr("bigain_cli.evaluation.evaluation_run.fields_for_summary", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run)
    assert len(path.read_text().splitlines()) == run.recorded == 1


def test_each_record_is_in_the_file_before_it_is_handed_out(colours: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for number, trial in enumerate(bigain.evaluate(colours, coloured(4), rules=FIXED, records=str(path)), 1):
        assert json.loads(path.read_text().splitlines()[-1]) == trial.record
        assert len(path.read_text().splitlines()) == number
    with pytest.raises(UsageError, match="exists"):
        bigain.evaluate(colours, coloured(4), rules=FIXED, records=str(path))
    assert bigain.evaluate(colours, coloured(2), rules=FIXED, records=str(path), replace=True).summary().count == 2
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": True}, "none are named"),
        ({"records": "r.txt"}, "Name a .jsonl file"),
        ({"records": "r.jsonl", "resume": True, "replace": True}, "Choose one"),
        ({"records": "nowhere/r.jsonl"}, "does not exist"),
        ({"against": "tome:0.5"}, "not among the specs"),
    ],
)
def test_what_a_run_cannot_do_is_refused_at_once(colours: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bigain.evaluate(colours, coloured(2), **options)


def test_a_model_by_name_is_loaded_once_everything_else_is_checked() -> None:
    with pytest.raises(UsageError, match="no image in it"):
        bigain.evaluate("not-a-model", coloured(0))
    with pytest.raises(bigain.ModelError, match="not-a-model"):
        bigain.evaluate("not-a-model", coloured(1))


def test_without_specs_the_models_own_is_compared_with_none(network: Any) -> None:
    assert bigain.evaluate(network, coloured(1), ()).specs == tuple(dict.fromkeys(("none", network.compress)))


def test_the_published_protocol_takes_260_evaluations_for_37_labels(models: dict[str, Path]) -> None:
    backbone = bigain.load(str(models["pixels"]), device="cpu")
    labels = [f"a{n}" for n in range(37)]
    dataset = Dataset("pets", tuple(labels), [Case("x", (0,), lambda: Image.new("RGB", (8, 8)))])
    (trial,) = evaluation(backbone, dataset, "none", rules=StoppingRules(schedule="staged")).records()
    assert trial.record["evaluations"] == 37 * 5 + 5 * 15 == 260


def test_seconds_are_what_an_images_own_evaluations_took(colours: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen images run side by side: each has its share of every round, and together no more than the whole."""
    pause, called = 0.02, DenoisingErrors.__call__

    def slow(self: DenoisingErrors, jobs: Any) -> Any:
        time.sleep(pause * sum(job.evaluations for job in jobs) / 32)
        return called(self, jobs)

    monkeypatch.setattr(DenoisingErrors, "__call__", slow)
    began = time.monotonic()
    records = [made.record for made in evaluation(colours, coloured(16), "none").records()]
    whole = time.monotonic() - began
    assert all(record["seconds"] >= 0.99 * pause * record["evaluations"] / 32 for record in records)
    assert sum(record["seconds"] for record in records) <= whole + 1e-3 * len(records)


def changed(path: Path, number: int, **fields: Any) -> None:
    """Change fields of a record; those that are None are removed."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[number] = {name: value for name, value in {**lines[number], **fields}.items() if value is not None}
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")


WRONG: list[dict[str, Any]] = [
    {"probability": 7.5}, {"probability": float("nan")}, {"probability": "0.5"}, {"probability": None}, {"label": 3},
    {"label": "pink"}, {"settled": 1}, {"settled": None, "decided": None}, {"rank": 0}, {"rank": 99}, {"rank": None},
    {"truth_probability": 1.5}, {"seconds": -1}, {"seconds": None}, {"gflop": float("inf")}, {"draws": 1.5}, {"top": 3},
    {"top": [{}]}, {"gap_interval": [1]}, {"brier": "x"}, {"truth": "red"}, {"error": {}}, {"error": 3}, {"answer": []},
]  # fmt: skip


@pytest.mark.parametrize("fields", WRONG, ids=str)
def test_a_record_that_this_verb_cannot_have_written_is_refused(
    colours: Any, tmp_path: Path, fields: dict[str, Any]
) -> None:
    path = tmp_path / "r.jsonl"
    options: dict[str, Any] = {"rules": FIXED, "records": str(path)}
    bigain.evaluate(colours, coloured(3), **options).summary()
    changed(path, 1, **fields)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"r\.jsonl: \d\.png: (its|it has no|'pink' is none of) "):
        bigain.evaluate(colours, coloured(3), **options, resume=True)
    assert path.read_bytes() == before


def test_a_byte_order_mark_and_blank_lines_are_no_records(colours: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    bigain.evaluate(colours, coloured(3), rules=FIXED, records=str(path)).summary()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    run = bigain.evaluate(colours, coloured(3), rules=FIXED, records=str(path), resume=True)
    assert (run.found.records, run.found.others, run.found.repaired) == (3, 0, False)
