"""An evaluation's report and its second figure: what is shown, and that no table is wider than a terminal."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigain_cli.compress.spec import in_short
from bigain_cli.evaluation.generated_images import ImageQuality, SpecImageQuality
from bigain_cli.evaluation.image_metrics import Estimate, Quality
from bigain_cli.evaluation.report import written
from bigain_cli.evaluation.risk_coverage_chart import FEWEST, risk_coverage_chart, risk_coverage_curve
from bigain_cli.evaluation.summary import Summary, summarise
from bigain_cli.intervals import Interval
from bigain_cli.outputs.text import COLUMNS, cell_width

ABOUT = {"dataset": "photos", "labels": 3, "model": "m", "weights": "0123456789abcdef", "schedule": "race"}
ABOUT |= {"max_draws": 32, "score": "l2", "seed": 0, "dtype": "float32", "device": "cpu", "threads": 1}
GENERATED = {"size": (32, 32), "sampler": "ddim", "steps": 25, "guidance": 2.0, "pictures": 20, "of_each_class": 10}
GENERATED |= {"batch": 8, "feature": "pixels", "left_out": [], "parts_kept_before": 0}
LONG = ("none", "lgtm:0.7@share=level+iekvd:2@0.9:1.2@levels=all", "lgtm:0.7@share=level+iekvd:4@0.9:1.2@levels=all")


def records(count: int, labels: tuple[str, ...], seed: int = 0, cost: float = 50.123) -> dict[str, dict[str, Any]]:
    random = np.random.default_rng(seed)
    made = {}
    for number in range(count):
        sure = float(random.uniform(0.2, 1))
        truth = labels[number % len(labels)]
        right = bool(random.random() < sure)
        answer = truth if right else labels[(number + 1) % len(labels)]
        made[str(number)] = {
            "id": str(number), "label": answer, "truth": [truth], "settled": sure > 0.9, "probability": sure,
            "rank": 1 if right else 2, "truth_probability": sure if right else 0.1, "brier": 0.4,
            "draws": 32, "evaluations": 186 + cost, "seconds": 0.5, "gflop": cost,
        }  # fmt: skip
    return made


def summary(specs: tuple[str, ...] = LONG, count: int = 40, labels: tuple[str, ...] = ("cat", "dog", "emu")) -> Summary:
    found = {spec: records(count, labels, seed, 10.0 ** (4 + seed)) for seed, spec in enumerate(specs)}
    return summarise(found, labels, specs[0], ABOUT)


def image_quality() -> ImageQuality:
    spans = {"frechet": 312.4, "kernel": 0.0123456, "precision": 0.8333, "recall": 0.47}
    random = np.random.default_rng(0)

    def quality() -> Quality:
        measured = {
            name: Estimate(name, Interval(value, 0.9 * value, 1.1 * value), "pixels", 20, 20, random.random(9))
            for name, value in spans.items()
        }
        return Quality(measured)

    return ImageQuality(GENERATED, "none", {spec: SpecImageQuality(quality(), 0.5) for spec in LONG}, quality())


def rows_of(text: str) -> list[str]:
    """Return the lines of tables: text is broken at single blanks."""
    return [line for line in text.splitlines() if "  " in line.strip()]


texts = st.text("ab/猫é.@:0", min_size=1, max_size=60)


@settings(max_examples=12, deadline=None)
@given(st.lists(texts, min_size=1, max_size=3, unique=True), st.lists(texts, min_size=2, max_size=30, unique=True))
def test_no_row_is_wider_than_a_terminal(specs: list[str], labels: list[str]) -> None:
    text = written(summary(tuple(specs), 30, tuple(labels)), "table", confusion=True)
    assert len(rows_of(text)) > 8 * len(specs) and max(map(cell_width, rows_of(text))) <= COLUMNS


def test_generated_images_have_no_row_that_is_wider_either() -> None:
    found = summarise({spec: {} for spec in LONG}, ("cat",), "none", ABOUT, image_quality=image_quality())
    narrow, wide = (written(found, "table", False, each) for each in (False, True))
    assert len(rows_of(narrow)) == 8 and max(map(cell_width, rows_of(narrow))) <= COLUMNS
    assert "312 [281, 344]" in narrow and "0.833 [" not in narrow and "0.833 [0.75, 0.917]" in wide
    assert "s per image" in wide and "s per image" not in narrow


def test_names_that_look_alike_when_shortened_are_numbered_and_wide_has_them_whole() -> None:
    found = summary()
    narrow, wide = (written(found, "table", False, each) for each in (False, True))
    names = {row.split("  ")[0] for row in rows_of(narrow)} - {"spec"}
    assert len(names) == len(LONG) and {name[:2] for name in names} == {"1 ", "2 ", "3 "}, "the same in all tables"
    assert all(spec in wide for spec in LONG)


def test_specs_are_shown_without_what_all_have_unless_two_would_read_alike() -> None:
    assert in_short(["none", "lgtm:0.5@share=level"]) == {"none": "none", "lgtm:0.5@share=level": "lgtm:0.5"}
    two = ["lgtm:0.5@share=level", "lgtm:0.5"]
    assert in_short(two) == {name: name for name in two}


def test_json_and_markdown_have_what_a_narrow_table_leaves_out() -> None:
    found = summary()
    document, text = found.to_dict(), written(found, "markdown", False)
    for spec in LONG:
        own = document["specs"][spec]
        assert own["ece_bins"] == 15 and own["top5"] is None and own["brier"]["value"] == pytest.approx(0.4)
        assert {"low", "high"} < own["nll"].keys() and own["settled"] == own["decided"]
        assert [each["min_probability"] for each in own["risk_coverage"]] == [0.5, 0.7, 0.9, 0.95]
    for words in ("top-5 %", "of these right %", "McNemar p", "Brier score", "by chance", "at least", LONG[1]):
        assert words in text


def test_a_report_of_several_labels_says_why_probabilities_are_not_judged() -> None:
    evidence = {"cat": 1.0, "dog": 0.0}
    several = {
        id: {**record, "truth": ["cat"], "evidence": evidence} for id, record in records(4, ("cat", "dog")).items()
    }
    text = written(summarise({"none": several, LONG[1]: several}, ("cat", "dog"), "none", ABOUT), "table", True)
    assert "mAP %" in text and "difference" in text and "they are not judged" in text
    assert "Brier" not in text and "answers" not in text
    assert max(map(cell_width, rows_of(text))) <= COLUMNS


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.2, 0.5, 0.7, 0.95])), min_size=1, max_size=50))
def test_the_curve_ends_with_all_answers_and_gives_equal_ones_together(cases: list[tuple[bool, float]]) -> None:
    right, sure = (np.array(column) for column in zip(*cases, strict=True))
    shares, accuracies = risk_coverage_curve(right, sure)
    assert shares[-1] == 1 and accuracies[-1].value == pytest.approx(right.mean())
    assert all(before < after for before, after in pairwise(shares))
    counts = [sum(value >= least for value in sure) for least in sorted({*sure}, reverse=True)]
    given_together = [each for each in counts if each >= min(FEWEST, len(cases))]
    assert [round(share * len(cases)) for share in shares] == given_together


def test_the_second_figure_has_a_line_and_marks_for_each_spec() -> None:
    found = summary(("none", "lgtm:0.5"), 100)
    figure = risk_coverage_chart(found)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["none", "lgtm:0.5"]
    curves = [line for line in axes.lines if len(line.get_xdata()) > 1]
    marks = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert len(curves) == 2 and len(marks) >= 4 and axes.get_ylim()[1] == pytest.approx(1.02)
    assert "0.5" in {text.get_text() for text in axes.texts}
