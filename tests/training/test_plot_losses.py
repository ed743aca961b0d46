"""The curves of trainings are the means of their reports."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import plot_losses
import pytest


def test_a_point_is_the_mean_of_its_images() -> None:
    reports = [{"images": 1000, "error": 1.0}, {"images": 4000, "error": 0.2}, {"images": 60000, "classifier": 2.0}]
    assert plot_losses.smoothed(reports, "error") == ([4.0], [pytest.approx((1000 * 1.0 + 3000 * 0.2) / 4000)])
    assert plot_losses.smoothed(reports, "classifier") == ([60.0], [2.0])
    assert plot_losses.smoothed(reports, "contrast") == ([], [])
    many = [{"images": number * 10, "error": float(number % 2)} for number in range(1, 601)]
    thousands, values = plot_losses.smoothed(many, "error")
    assert len(values) == plot_losses.POINTS and thousands[-1] == 6.0
    assert values == pytest.approx([0.5] * len(values), abs=0.03)


def test_it_plots_the_losses_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, loss in (("one", "error"), ("two", "classifier")):
        (tmp_path / name / "training").mkdir(parents=True)
        lines = [json.dumps({"images": 32 * number, loss: 1 / number}) for number in range(1, 50)]
        (tmp_path / name / "training" / "losses.jsonl").write_text("\n".join(lines))
    target = tmp_path / "losses.svg"
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "one"), str(tmp_path / "two"), str(target)])
    plot_losses.main()
    first = target.read_bytes()
    plot_losses.main()
    assert target.read_bytes() == first and first.count(b"<!-- thousand images -->") == 2
    assert b"loss of the classifier" in first and b"loss of comparing labels" not in first
