"""The progress of `classify`: lines now and then, what a long run will take, and one sentence at its end."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import commands
import pytest
from commands import LABELS, warm
from PIL import Image

import bigain_cli as bigain
from bigain_cli.cli import classify_progress, progress
from bigain_cli.cli.classify_progress import ClassifyProgress
from bigain_cli.cli.messages import Messages
from bigain_cli.outputs.live_table import plain
from bigain_cli.outputs.run_counts import RunCounts
from bigain_cli.outputs.text import spoken_rate, spoken_time

SIX = ["red", "orange", "pink", "brown", "purple", "grey"]


class Count(SimpleNamespace):
    """A count that is known, or never."""

    def __init__(self, total: int | None) -> None:
        super().__init__(total=total)


@pytest.fixture(scope="module")
def steps() -> list[bigain.Ranking]:
    run = bigain.Classification(bigain.load("colours"), SIX, rules=bigain.StoppingRules(draws=64))
    return list(run.rankings([("x\x1b[31m.png", Image.new("RGB", (8, 8), (185, 80, 40)))]))


def lines_of(
    steps: list[bigain.Ranking],
    pause: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    watch: bool = True,
    total: int | None = None,
) -> list[str]:
    """Return the lines written without a terminal about steps that are so many seconds apart."""
    now = [100.0]
    for module in (progress, classify_progress):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with ClassifyProgress(Messages(quiet=False, verbose=False), watch, Count(total), 768, "cpu in float32") as display:
        for step in steps:
            now[0] += pause
            display.show(step)
    assert not display._line_times, "nothing is kept of finished images"
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(("pause", "count"), [(0.0, 1), (0.1, 1), (0.3, 2), (0.5, 4), (1.0, 8), (60.0, 8)])
def test_plain_lines_are_a_second_apart(pause: float, count: int, steps, monkeypatch, capsys) -> None:
    assert len(steps) == 8
    lines = lines_of(steps, pause, monkeypatch, capsys)
    assert len(lines) == max(count - (pause >= 1), 1), "the first line is due a second after the start"
    assert lines[-1].startswith("'x\\x1b[31m.png': done, 64 draws")
    assert all(": running, " in line for line in lines[:-1])


def test_each_image_in_progress_has_lines_of_its_own(steps, monkeypatch, capsys) -> None:
    others = [dataclasses.replace(step, id="other.png") for step in steps]
    both = [step for pair in zip(steps, others, strict=True) for step in pair]
    lines = lines_of(both, 0.6, monkeypatch, capsys)
    assert len(lines) == 2 * 8 - 2 and sum("'other.png'" in line for line in lines) == 7


def test_a_plain_line_tells_pace_and_gap(steps, monkeypatch, capsys) -> None:
    (line,) = lines_of(steps, 0.1, monkeypatch, capsys)
    last = steps[-1]
    low, high = last.gap_interval
    assert f"64 draws, {last.evaluations} evaluations, {last.evaluations / 0.8:.1f}/s, " in line
    assert f", gap {last.gap:.3g} [{low:.2g}, {high:.2g}], {len(last.contenders)} contenders: {last.label} " in line
    one = dataclasses.replace(steps[0], draws=1, evaluations=1, gap=None, gap_interval=None)
    assert ": running, 1 draw, 1 evaluation, 2.0/s, gap -, " in plain(one, 2.0)


def test_a_long_run_says_once_what_it_will_take(steps, monkeypatch, capsys) -> None:
    done = [dataclasses.replace(steps[-1], id=f"{number}.png") for number in range(40)]
    lines = lines_of(done, 4.0, monkeypatch, capsys, watch=False, total=40)
    assert lines[0] == "bigain: 40 images × at most 768 evaluations on cpu in float32, about 2.7 min"
    assert lines[1].startswith("bigain: 3/40 images, 0.25 images/s, ") and lines[1].endswith(", 2:28 left")
    assert len(lines) == 1 + 160 // 12 and sum(" × " in line for line in lines) == 1
    assert lines_of(done[:2], 4.0, monkeypatch, capsys, watch=False, total=2) == [], "a short one is over before"


def test_before_the_first_result_only_a_bound_is_known(steps, monkeypatch, capsys) -> None:
    lines = lines_of(steps[:-1], 6.0, monkeypatch, capsys, watch=False, total=3)
    evaluations = steps[1].evaluations - steps[0].evaluations  # the first draws, while all warms up, are left out
    assert lines[0].endswith(f", at most {spoken_time(3 * 768 * 6 / evaluations)}")
    assert lines[1].startswith("bigain: 0/3 images, ") and ", at most " in lines[1] and "images/s" not in lines[1]
    lines = lines_of(steps[:-1], 6.0, monkeypatch, capsys, watch=False, total=None)
    assert all(line.startswith("bigain: 0 images so far, ") for line in lines), "a list from a pipe has no length yet"


def test_durations_are_said_as_people_say_them() -> None:
    said = [spoken_time(seconds) for seconds in (0.04, 1.24, 9.96, 59, 119, 125, 3600, 9000, 200_000, 2e6)]
    assert said == ["0 s", "1.2 s", "10 s", "59 s", "119 s", "2.1 min", "60 min", "2.5 h", "2.3 days", "23 days"]


def test_the_sentence_counts_what_came_out(steps) -> None:
    counts = RunCounts()
    for outcome in (
        dataclasses.replace(steps[-1], settled=True),
        dataclasses.replace(steps[-1], settled=False, settings={"min_probability": 1.0}),
        bigain.Failure("x", "not-found", "x: gone"),
    ):
        counts.add(outcome)
    assert counts.sentence(36.2, None, 0, "") == "3 images: 1 settled, 1 open, 1 failed in 36 s"
    said = counts.sentence(36.2, 0.9, 7, "pets.jsonl")
    assert said == (
        "3 images: 1 settled, 1 open, 1 failed, 1 unsure below 0.9 in 36 s; 7 recorded earlier → pets.jsonl"
    )


def test_a_run_ends_with_its_sentence_unless_it_is_quiet(tmp_path: Path) -> None:
    commands.gallery(tmp_path / "photos", 3)
    command = ("classify", "photos", *LABELS, "-o", "r.jsonl")
    done = warm(*command, cwd=tmp_path)
    assert done.code == 0 and done.err.startswith("bigain: 3 images: ") and done.err.endswith("s → r.jsonl\n")
    again = warm(*command, "--resume", cwd=tmp_path)
    assert again.err.splitlines()[-1].endswith("; 3 recorded earlier → r.jsonl")
    assert warm(*command, "--force", "-q", cwd=tmp_path).err == ""


def test_a_rate_is_written_without_powers_of_ten() -> None:
    assert [spoken_rate(value) for value in (3.14e-5, 0.0314, 0.5, 1.0, 9.94, 9.96, 119.6, 1234.5)] == [
        *("0.000031", "0.031", "0.5", "1", "9.9", "10", "120", "1234")
    ]
