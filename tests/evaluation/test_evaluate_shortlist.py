"""`evaluate` with a shortlist: every spec with and without it, on the same images, and what it loses and saves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle import NestedClasses, nested
from tiny_towers import save_towers

from bigain_cli.classification.stopping import StoppingRules
from bigain_cli.datasets.dataset import Case, Dataset
from bigain_cli.errors import UsageError
from bigain_cli.evaluation.evaluation_run import evaluate
from bigain_cli.evaluation.report import written
from bigain_cli.evaluation.shortlist_recall import recall_of
from bigain_cli.evaluation.summary import Summary

LABELS, IMAGES = 120, 12
QUICK = StoppingRules(draws=16)


def sampled() -> tuple[NestedClasses, Dataset]:
    model = nested((6, 5, 4), (0.8, 0.6, 0.5))
    truth = torch.arange(0, LABELS, LABELS // IMAGES)
    images = model.sample(truth, seed=3)
    cases = tuple(
        Case(id, (int(number),), (lambda image=image: image)) for (id, image), number in zip(images, truth, strict=True)
    )
    return model, Dataset("nested", tuple(model.names.values()), cases)


@pytest.fixture(scope="module")
def summary() -> Summary:
    model, dataset = sampled()
    return evaluate(model, dataset, "none", rules=QUICK, shortlist="tree", batch=512).summary()


def test_every_spec_is_evaluated_with_and_without(summary: Summary) -> None:
    assert list(summary.accuracies) == ["none", "none, tree"]
    assert summary.to_baseline("none, tree") is not None


def test_the_recall_counts_the_winners_that_were_asked(summary: Summary) -> None:
    [found] = summary.recalls
    whole, short = summary.records["none"], summary.records["none, tree"]
    asked = [{summary.names[number] for number in record["asked_labels"]} for record in short]
    hits = [record["label"] in labels for record, labels in zip(whole, asked, strict=True)]
    truths = [record["truth"][0] in labels for record, labels in zip(short, asked, strict=True)]
    assert found.count == IMAGES
    assert found.recall.value == np.mean(hits) > 0.5
    assert found.truth_asked.value == np.mean(truths)
    assert found.asked == np.mean([len(labels) for labels in asked]) < LABELS
    assert found.evaluations < found.evaluations_of_all
    assert found.recall.low <= found.recall.value <= found.recall.high


def test_a_label_that_was_not_asked_is_no_hit() -> None:
    record = {"label": "a", "truth": ["b"], "evaluations": 8}
    kept = {"all": [record] * 2, "short": [{**record, "asked_labels": [1]}, {**record, "asked_labels": [0]}]}
    found = recall_of("short", "all", kept, ["a", "b"])
    assert (found.recall.value, found.truth_asked.value, found.asked) == (0.5, 0.5, 1.0)


def test_reports_show_it(summary: Summary) -> None:
    for form in ("table", "markdown"):
        assert "recall %" in written(summary, form, confusion=False)
    document = json.loads(written(summary, "json", confusion=False))
    assert document["shortlists"][0]["recall"]["value"] == summary.recalls[0].recall.value
    assert document["shortlists"][0]["accuracy"]["count"] == IMAGES


def test_records_can_be_continued(tmp_path: Path) -> None:
    model, dataset = sampled()
    file = str(tmp_path / "records.jsonl")
    options = {"rules": QUICK, "shortlist": "tree", "batch": 512, "records": file}
    first = evaluate(model, dataset, "none", **options).summary()  # type: ignore[arg-type]
    before = Path(file).read_bytes()
    Path(file).write_bytes(b"\n".join(before.split(b"\n")[:7]) + b"\n")
    second = evaluate(model, dataset, "none", resume=True, **options).summary()  # type: ignore[arg-type]
    assert [each.to_dict() for each in first.recalls] == [each.to_dict() for each in second.recalls]
    for line in map(json.loads, before.splitlines()):
        if line["settings"].get("shortlist"):
            assert len(line["asked_labels"]) == line["asked"] == LABELS - line["not_asked"]
            assert 1 <= line["rank"] <= line["asked"] + 1
            assert 0 <= line["truth_probability"] <= 1 and 0 <= line["brier"] <= 2


def test_from_fifty_labels_on_a_tree_is_searched_unless_it_is_off() -> None:
    model, dataset = sampled()
    plain = evaluate(model, dataset, "none", rules=QUICK, limit=2, batch=512).summary()
    assert plain.about["shortlist"] == "tree" and not plain.recalls
    whole = evaluate(model, dataset, "none", rules=QUICK, limit=2, batch=512, shortlist="off").summary()
    assert "shortlist" not in whole.about
    assert not whole.recalls


def test_a_two_tower_model_is_measured_alike(tmp_path: Path) -> None:
    model, dataset = sampled()
    towers = save_towers("clip", tmp_path / "clip")
    names = [f"class {number}" for number in range(20)]
    few = Dataset("few", tuple(names), tuple(case for case in dataset.cases if case.truth[0] < 20))
    found = evaluate(model, few, "none", rules=QUICK, shortlist=f"{towers}:4", batch=512).summary()
    assert list(found.accuracies) == ["none", "none, clip:4"]
    assert 4 <= found.recalls[0].asked <= 8


def test_a_dataset_of_several_labels_has_no_shortlist() -> None:
    model, dataset = sampled()
    several = Dataset("several", dataset.classes, dataset.cases, multilabel=True)
    with pytest.raises(UsageError, match="--shortlist tree"):
        evaluate(model, several, "none", rules=StoppingRules(schedule="fixed"), shortlist="tree")


def test_the_model_of_a_shortlist_runs_where_it_is_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loaded(Exception):
        """The device is known."""

    def load(towers: object, device: str) -> None:
        raise Loaded(device)

    monkeypatch.setattr("bigain_cli.classification.model_shortlist.load_towers", load)
    model, dataset = sampled()
    with pytest.raises(Loaded, match=r"^cpu$"):
        evaluate(model, dataset, "none", shortlist=f"{save_towers('clip', tmp_path / 'clip')}:3", device="cpu")
